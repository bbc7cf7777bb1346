// engine.hpp: what a runtime offers; one file a runtime. No bundle, no C ABI.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace wrn {

// A batch in the memory of a device, and memory there for its first outputs.
struct DeviceBatch {
  std::int64_t count = 0;
  const void *images = nullptr;
  std::vector<void *> outputs;
};

// One inference at a time, with memory of its own; any number of contexts of an engine may run at once.
class Context {
 public:
  virtual ~Context() = default;
  // Runs `count` images in host memory. results[i]: where output i of the first `wanted` is, until the next call.
  virtual void infer(const void *images, std::int64_t count, std::size_t wanted, const void **results) = 0;
  // The same in two steps, for an engine with a largest batch: start() returns before the outputs are there, and
  // finish() waits for them. Two batches may be on their way, of the turns 0 and 1, finished in the order of their
  // starts. After start() the images may be overwritten, unless they are in lent memory.
  virtual void start(const void *, std::int64_t /*count*/, std::size_t /*wanted*/, int /*turn*/) {
    throw std::logic_error("no largest batch");
  }
  virtual void finish(int /*turn*/, const void ** /*results*/) { throw std::logic_error("no largest batch"); }
  // Waits for all batches that were started, and drops them.
  virtual void drop() noexcept {}
  // Queues a batch that the engine has checked on the caller's stream, and returns.
  virtual void infer_device(const DeviceBatch &, void * /*stream*/) { throw std::logic_error("no device memory"); }
};

// A graph or plan that was loaded.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::unique_ptr<Context> open_context() = 0;
  virtual const Tensor &input() const = 0;
  virtual std::int64_t largest() const { return std::numeric_limits<std::int64_t>::max(); }  // batch
  virtual std::int64_t smallest() const { return 1; }
  virtual bool takes_device_memory() const { return false; }
  // Throws Error unless a context can take the batch.
  virtual void check_device(const DeviceBatch &) const {}
  // Memory that a host writes images into, which outlives the engine.
  virtual std::shared_ptr<void> lend(std::size_t bytes) {
    constexpr std::size_t kLine = 64;  // of a cache
    void *made = std::aligned_alloc(kLine, (bytes + kLine - 1) / kLine * kLine);
    if (made == nullptr) throw std::bad_alloc();
    return {made, std::free};
  }
};

// Opens a graph of `model`, the file `name`, with ONNX Runtime on the CPU; threads: 0 for its default.
std::unique_ptr<Engine> open_onnxruntime(
    const std::string &graph, const Model &model, std::int32_t threads, const std::string &name);

}  // namespace wrn
