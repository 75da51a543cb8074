#include "normtweak/cli/number_checks.h"

namespace normtweak::cli {

CLI::Validator within(const Bounds& bounds) {
  return {[bounds](const std::string& text) { return complaint(text, bounds); }, bounds.name};
}

}  // namespace normtweak::cli
