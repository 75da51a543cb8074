#include "normtweak/cli/choices.h"

#include "normtweak/base/error.h"

namespace normtweak::cli {

CLI::Validator accepted_by(std::function<void(const std::string&)> parse) {
  return {[parse = std::move(parse)](const std::string& value) -> std::string {
            try {
              parse(value);
              return "";
            } catch (const Error& error) {
              return error.what();
            }
          },
          ""};
}

void refuse_with(const CLI::App& command, const std::string& choice, const std::vector<std::string>& options) {
  for (const auto& option : options) {
    if (command.get_option(option)->empty()) continue;
    fail_usage("{}: has no effect with {}; leave out one of the two", option, choice);
  }
}

void note_unread(const CLI::App& command, const std::string& choice, const std::vector<std::string>& options,
                 ProgressSink& progress) {
  for (const auto& option : options) {
    if (!command.get_option(option)->empty()) progress.note(fmt::format("{}: has no effect with {}", option, choice));
  }
}

}  // namespace normtweak::cli
