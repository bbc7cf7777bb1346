// engine.hpp: what a runtime offers; one file a runtime. No bundle, no C ABI.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace wrn {

// One inference at a time, with memory of its own; any number of contexts of an engine may run at once.
class Context {
 public:
  virtual ~Context() = default;
  // Runs `count` images in host memory. results[i]: where output i of the first `wanted` is, until the next call.
  virtual void infer(const void *images, std::int64_t count, std::size_t wanted, const void **results) = 0;
};

// A graph or plan that was loaded.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::unique_ptr<Context> open_context() = 0;
  virtual std::int64_t largest() const { return std::numeric_limits<std::int64_t>::max(); }  // batch
  virtual std::int64_t smallest() const { return 1; }
};

// Opens a graph of `model`, the file `name`, with ONNX Runtime on the CPU; threads: 0 for its default.
std::unique_ptr<Engine> open_onnxruntime(
    const std::string &graph, const Model &model, std::int32_t threads, const std::string &name);

}  // namespace wrn
