// Runs a target without libFuzzer, with libFuzzer's arguments:
//     fuzz_NAME [-runs=N] [-max_total_time=SECONDS] [-seed=N] FOLDER|FILE ...
// Every file is read as it is and must be accepted, unless its name begins with refused_. Then, where a folder is
// named, come N changed inputs, fewer if the time is over before. The environment variables NORMTWEAK_FUZZ_RUNS and
// NORMTWEAK_FUZZ_SEED go before the arguments.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "contract.h"
#include "mutator.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"

namespace normtweak::fuzz {
namespace {
namespace fs = std::filesystem;

struct Choices {
  std::uint64_t runs = 1000, seed = 1;
  std::uint64_t seconds = 0;    // 0: as long as the runs take
  std::vector<fs::path> files;  // sorted: the order of a folder is not that of another machine
  bool has_folder = false;
};

std::uint64_t parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) fail("{}: a whole number is needed", text);
  return number;
}

void add_files(const fs::path& path, Choices& choices) {
  if (!fs::is_directory(path)) {
    choices.files.push_back(path);
    return;
  }
  choices.has_folder = true;
  for (const auto& entry : fs::directory_iterator(path)) choices.files.push_back(entry.path());
}

Choices parse_arguments(int count, char** arguments) {
  Choices choices;
  for (const std::string_view argument : std::vector<std::string_view>(arguments + 1, arguments + count)) {
    if (argument.starts_with("-runs=")) {
      choices.runs = parse_number(argument.substr(6));
    } else if (argument.starts_with("-max_total_time=")) {
      choices.seconds = parse_number(argument.substr(16));
    } else if (argument.starts_with("-seed=")) {
      choices.seed = parse_number(argument.substr(6));
    } else {
      add_files(argument, choices);
    }
  }
  if (const auto* runs = std::getenv("NORMTWEAK_FUZZ_RUNS")) choices.runs = parse_number(runs);
  if (const auto* seed = std::getenv("NORMTWEAK_FUZZ_SEED")) choices.seed = parse_number(seed);
  std::ranges::sort(choices.files);
  if (choices.files.empty()) fail("no inputs; name a folder of them");
  return choices;
}

// Keeps each input in a file while it is read: after a crash it is still there.
class Runner {
 public:
  explicit Runner(fs::path kept) : kept_(std::move(kept)) {}

  // Whether it was read.
  bool run(std::string_view bytes) const {
    std::ofstream(kept_, std::ios::binary) << bytes;
    const std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());  // of its size, so that a byte too far is seen
    LLVMFuzzerTestOneInput(copy.data(), copy.size());
    return outcome().read;
  }

 private:
  fs::path kept_;
};

void run_all(const Choices& choices, const fs::path& name) {
  const auto kept = fs::absolute(name.filename()).replace_extension("input");
  std::printf("the input that is being read lies in %s\n", kept.c_str());
  std::fflush(stdout);
  const Runner runner(kept);
  std::vector<std::string> seeds;
  for (const auto& file : choices.files) {
    seeds.push_back(read_file(file));
    const bool may_be_refused = !choices.has_folder || file.filename().string().starts_with("refused_");
    if (!runner.run(seeds.back()) && !may_be_refused) {
      fail("{}: a seed must be read, and is refused: {}", file.string(), outcome().refusal);
    }
  }
  if (!choices.has_folder) return;
  const Mutator mutator(std::move(seeds), choices.seed);
  const auto begin = std::chrono::steady_clock::now();
  const auto in_time = [&] {
    return choices.seconds == 0 || std::chrono::steady_clock::now() - begin < std::chrono::seconds(choices.seconds);
  };
  std::uint64_t runs = 0, read = 0;
  for (; runs < choices.runs && in_time(); ++runs) read += runner.run(mutator.input(runs)) ? 1 : 0;
  fs::remove(kept);
  std::printf("%zu seeds and %llu changed inputs, of which %llu were read\n", choices.files.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(read));
}

}  // namespace
}  // namespace normtweak::fuzz

int main(int count, char** arguments) {
  try {
    normtweak::fuzz::run_all(normtweak::fuzz::parse_arguments(count, arguments), arguments[0]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
