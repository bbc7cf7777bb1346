// execution.hpp: one inference at a time: a stream, buffers, and execution contexts that share one block of memory.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "context.hpp"
#include "memory.hpp"
#include "plan.hpp"
#include "runner/engine.hpp"

namespace wrn {

// The own stream orders all inferences: it waits for those on callers' streams, and they wait for it. So no two run at
// once, and all execution contexts share one block of activation memory. A batch size that comes back gets a context of
// its own and a CUDA graph; other sizes, and the caller's memory, share one context a profile. As execution.py of
// wrn_deploy/backends/plan.
class Execution final : public Context {
 public:
  explicit Execution(Plan &plan);
  ~Execution() override;

  void infer(const void *images, std::int64_t count, std::size_t wanted, const void **results) override;
  // Copies run on streams of their own, beside the inference of the other turn.
  void start(const void *images, std::int64_t count, std::size_t wanted, int turn) override;
  void finish(int turn, const void **results) override;
  void drop() noexcept override;
  // A small batch whose size comes back is copied on the device into own buffers, for which there is a graph, and its
  // outputs are copied back. A graph for the caller's addresses would have to be captured again when they change.
  void infer_device(const DeviceBatch &batch, void *stream) override;

 private:
  static constexpr int kTurns = 2, kForeign = 2;
  // A batch size and whose buffers: those of a turn, or of batches from device memory of the caller's.
  using Size = std::pair<std::int64_t, int>;
  struct Kept {
    KeptContext context;
    std::uint64_t used;  // when, in calls
  };
  // What is freed while the GPU's context is current, in the order of its destruction: from the last member up.
  struct OnDevice {
    Owned<CUstream> stream, in, out;  // `in` and `out` copy, for start()
    Owned<CUevent> event, uploaded, computed, downloaded[kTurns];
    Owned<CUdeviceptr> activations;
    std::map<Size, Buffers> buffers;  // by capacity
    std::map<std::size_t, PlanContext> contexts;  // by profile
    std::map<Size, Kept> kept;
  };

  // A batch of start() on its way.
  struct Started {
    std::int64_t count = 0;
    std::size_t wanted = 0;
  };

  Buffers &buffers_for(const Size &size);
  const void *pinned(const void *images, std::size_t bytes, Buffers &buffers) const;
  void download(std::int64_t count, std::size_t wanted, Buffers &buffers, CUstream stream);
  PlanContext &context_for(std::int64_t batch);
  KeptContext *kept_for(const Size &size, Buffers &buffers);
  void enqueue(const Size &size, Buffers &buffers, KeptContext *kept, CUstream stream);
  void capture(KeptContext *kept);
  void follow(CUstream earlier, CUstream later);
  void check_memory(const void *address, const Tensor &tensor) const;
  void settle(CUstream stream) const noexcept;
  std::size_t bytes_of(std::size_t tensor, std::int64_t batch) const;

  Plan &plan_;
  std::unique_ptr<OnDevice> on_device_ = std::make_unique<OnDevice>();
  Started started_[kTurns];
  std::map<Size, int> uses_;
  std::uint64_t calls_ = 0;
};

}  // namespace wrn
