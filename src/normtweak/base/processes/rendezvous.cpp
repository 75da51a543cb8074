#include "normtweak/base/processes/rendezvous.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <cstdlib>

#include "normtweak/base/strings/library_messages.h"

namespace normtweak {
namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;
using BackendPointer = c10::intrusive_ptr<c10d::Backend>;

[[noreturn]] void fail_exchange(const std::string& why) {
  throw LostProcess("an exchange with the other processes failed: " + why);
}

using Clock = std::chrono::steady_clock;
using WaitingSince = std::shared_ptr<std::atomic<std::int64_t>>;

class Waiting {
 public:
  explicit Waiting(std::atomic<std::int64_t>& since) : since_(since) {
    since_ = Clock::now().time_since_epoch().count();
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() { since_ = 0; }

 private:
  std::atomic<std::int64_t>& since_;
};

// Runs what waits for other processes.
template <class Call>
void with_others(const WaitingSince& since, const Call& call) {
  const Waiting waiting(*since);
  try {
    call();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail_exchange(library_message(error));
  }
}

// wait() usually throws; some failures it only reports.
void finish(c10d::Work& work) {
  if (!work.wait()) fail_exchange("it was given up");
  if (work.exception()) std::rethrow_exception(work.exception());
}

class C10dTransport : public Transport {
 public:
  C10dTransport(BackendPointer backend, c10::Device device, WaitingSince since, int on_machine)
      : backend_(std::move(backend)), device_(device), since_(std::move(since)), on_machine_(on_machine) {}
  int rank() const override { return backend_->getRank(); }
  int size() const override { return backend_->getSize(); }
  int on_machine() const override { return on_machine_; }
  c10::Device device() const override { return device_; }

  void all_reduce_sum(at::Tensor buffer) override {
    std::vector<at::Tensor> buffers = {std::move(buffer)};
    with_others(since_, [&] { finish(*backend_->allreduce(buffers)); });
  }

  void broadcast(at::Tensor buffer, int root) override {
    std::vector<at::Tensor> buffers = {std::move(buffer)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    with_others(since_, [&] { finish(*backend_->broadcast(buffers, options)); });
  }

 private:
  BackendPointer backend_;
  c10::Device device_;
  WaitingSince since_;
  int on_machine_;
};

// On a separate connection, since the collectives' connection is locked while they wait.
class C10dKeyStore : public KeyStore {
 public:
  explicit C10dKeyStore(StorePointer store) : store_(std::move(store)) {}
  bool is_first_to_put(const std::string& note) override { return store_->add(note, 1) == 1; }
  bool has(const std::string& note) override { return store_->check({note}); }

 private:
  StorePointer store_;
};

StorePointer open_store(const Launch& launch, bool serve) {
  c10d::TCPStoreOptions options;
  options.port = launch.port;
  options.isServer = serve;
  options.waitWorkers = false;
  options.timeout = launch.timeout;
  auto store = c10::make_intrusive<c10d::TCPStore>(launch.address, options);
  return c10::make_intrusive<c10d::PrefixStore>("normtweak/" + launch.attempt, store);
}

void await_all(c10d::Store& store, const Launch& launch) {
  const auto note_of = [](int rank) { return "arrived " + std::to_string(rank); };
  store.add(note_of(launch.rank), 1);
  std::vector<std::string> notes;
  notes.reserve(static_cast<std::size_t>(launch.size));
  for (int rank = 0; rank < launch.size; ++rank) notes.push_back(note_of(rank));
  store.wait(notes, 2 * launch.timeout);
}

#ifdef USE_C10D_GLOO
BackendPointer make_gloo(const StorePointer& store, const Launch& launch) {
  using Gloo = c10d::ProcessGroupGloo;
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");  // PyTorch's variable for the network interface
  auto options = Gloo::Options::create(2 * launch.timeout);
  options->devices.push_back(interface != nullptr ? Gloo::createDeviceForInterface(interface)
                                                  : Gloo::createDefaultDevice());
  return c10::make_intrusive<Gloo>(c10::make_intrusive<c10d::PrefixStore>("gloo", store), launch.rank, launch.size,
                                   options);
}
#endif

#ifdef USE_C10D_NCCL
BackendPointer make_nccl(const StorePointer& store, const Launch& launch) {
  // Errors and timeouts are reported by wait(); otherwise a c10d thread would abort the program.
  ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1", 0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = 2 * launch.timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", store), launch.rank,
                                                     launch.size, options);
}
#endif

// device: where buffers must be; without NCCL, buffers on GPUs are copied through host memory.
BackendPointer make_backend([[maybe_unused]] const StorePointer& store, [[maybe_unused]] const Launch& launch,
                            [[maybe_unused]] c10::Device& device) {
#ifdef USE_C10D_NCCL
  if (device.is_cuda()) return make_nccl(store, launch);
#endif
#ifdef USE_C10D_GLOO
  device = at::kCPU;
  return make_gloo(store, launch);
#else
  fail(
      "this build cannot connect processes on {}: it was made without Gloo's headers (Debian's libgloo-dev); start it "
      "without torchrun, or build it again with them",
      device.str());
#endif
}

}  // namespace

struct Rendezvous::Stores {
  StorePointer exchange;
  std::shared_ptr<KeyStore> notes;
};

Rendezvous::Rendezvous(const Launch& launch)
    : launch_(launch), waiting_since_(std::make_shared<std::atomic<std::int64_t>>(0)) {
  try {
    const auto store = open_store(launch, !launch.has_store && launch.rank == 0);
    stores_ = std::make_shared<const Stores>(store, std::make_shared<C10dKeyStore>(open_store(launch, false)));
  } catch (const std::exception& error) {
    throw LostProcess(fmt::format("rank {} of {}: nobody answers at {}:{}: {}", launch.rank, launch.size,
                                  launch.address, launch.port, library_message(error)));
  }
}

FailureReport Rendezvous::failure_report() const { return {stores_->notes, launch_.rank, launch_.size}; }

Processes Rendezvous::connect(c10::Device device) const {
  BackendPointer backend;
  with_others(waiting_since_, [&] {
    await_all(*stores_->exchange, launch_);  // NCCL would wait for the others forever
    backend = make_backend(stores_->exchange, launch_, device);
  });
  Processes processes(std::make_shared<C10dTransport>(backend, device, waiting_since_, launch_.local_size));
  processes.barrier();  // so that communication failures show now
  return processes;
}

std::chrono::seconds Rendezvous::waited() const {
  const std::int64_t since = *waiting_since_;
  if (since == 0) return {};
  return std::chrono::duration_cast<std::chrono::seconds>(Clock::now().time_since_epoch() - Clock::duration(since));
}

}  // namespace normtweak
