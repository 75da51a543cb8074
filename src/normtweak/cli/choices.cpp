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

void refuse_unread(const CLI::App& command, const std::string& why, const std::vector<std::string>& options,
                   const std::string& advice) {
  for (const auto& option : options) {
    if (!command.get_option(option)->empty()) fail_usage("{}: has no effect {}; {}", option, why, advice);
  }
}

void note_unread(const CLI::App& command, const std::string& why, const std::vector<std::string>& options,
                 ProgressSink& progress) {
  for (const auto& option : options) {
    if (!command.get_option(option)->empty()) progress.note(fmt::format("{}: has no effect {}", option, why));
  }
}

std::vector<std::string> options_of(const CLI::App& command, const std::string& group) {
  std::vector<std::string> names;
  for (const auto* option : command.get_options([&](const CLI::Option* one) { return one->get_group() == group; })) {
    names.push_back(option->get_name());
  }
  return names;
}

}  // namespace normtweak::cli
