// What every reader of foreign bytes promises: it reads them or throws an Error of one line, soon and in little memory.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

// Of libFuzzer: each target defines it, and ends with check(). Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace normtweak::fuzz {

struct Outcome {
  bool read = false;
  std::string refusal;  // the Error's text, where it was not read
};

// Runs `read`. Ends the program, saying why, if it throws anything but an Error of one line, takes more than a second
// of the processor, or allocates more at a time than 100 times the input and 64 MiB. Returns 0, for libFuzzer.
int check(const std::uint8_t* data, std::size_t size, const std::function<void(std::string_view bytes)>& read);

// Of the latest check().
const Outcome& outcome();

// Ends the program unless `holds`: for what a reader promises about the things that it has read.
void require(bool holds, std::string_view promise);

}  // namespace normtweak::fuzz
