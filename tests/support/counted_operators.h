// Counts the calls of ATen's operators while it exists, those that others call within themselves included. On a GPU
// each is about a kernel launch, so a bound on them is one on launches that a machine without a GPU can check.
#pragma once
#include <ATen/record_function.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace normtweak::tests {

// One at a time.
class CountedOperators {
 public:
  CountedOperators() {
    counts().clear();
    handle_ =
        at::addGlobalCallback(at::RecordFunctionCallback(&CountedOperators::count).scopes({at::RecordScope::FUNCTION}));
  }
  CountedOperators(const CountedOperators&) = delete;
  CountedOperators& operator=(const CountedOperators&) = delete;
  ~CountedOperators() { at::removeCallback(handle_); }

  std::int64_t all() const {
    std::int64_t sum = 0;
    for (const auto& [name, calls] : counts()) sum += calls;
    return sum;
  }
  // name: as in the profiler, such as "aten::mm".
  std::int64_t of(const std::string& name) const { return counts().contains(name) ? counts().at(name) : 0; }
  // Each of them waits for a GPU.
  std::int64_t waits() const { return of("aten::_local_scalar_dense"); }
  // Passes through the attention of a block.
  std::int64_t passes() const { return of("aten::scaled_dot_product_attention"); }

 private:
  static std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& function) {
    static std::mutex mutex;
    const std::scoped_lock lock(mutex);
    ++counts()[function.name()];
    return nullptr;
  }
  static std::map<std::string, std::int64_t>& counts() {
    static std::map<std::string, std::int64_t> the_counts;
    return the_counts;
  }

  at::CallbackHandle handle_;
};

}  // namespace normtweak::tests
