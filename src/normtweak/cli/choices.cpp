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

}  // namespace normtweak::cli
