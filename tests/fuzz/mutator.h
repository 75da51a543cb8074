// Changes valid inputs, a little and always in the same way, so that they become inputs nobody wrote.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace normtweak::fuzz {

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, std::uint64_t seed) : seeds_(std::move(seeds)), seed_(seed) {}

  // One of the seeds with one to four changes: bits and bytes, cuts, blocks repeated or taken from another seed, huge
  // numbers, values of JSON exchanged. Depends on the seeds, the seed and `run`, and on nothing before.
  std::string input(std::uint64_t run) const;

 private:
  std::vector<std::string> seeds_;
  std::uint64_t seed_;
};

}  // namespace normtweak::fuzz
