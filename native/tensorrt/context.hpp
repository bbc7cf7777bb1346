// context.hpp: an execution context of an engine, and one that is kept for one batch size and its CUDA graph.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bundle/manifest.hpp"
#include "cuda.hpp"

namespace wrn {

// On one profile, which it never changes; it sets a shape or an address only if it has changed.
class PlanContext {
 public:
  // `context` has its profile and its activation memory. `tensors`: the input, then the outputs; must outlive it.
  PlanContext(std::unique_ptr<nvinfer1::IExecutionContext> context, const std::vector<Tensor> &tensors)
      : context_(std::move(context)), tensors_(tensors) {}

  // Starts an inference of `batch` images at these addresses, one for each tensor. The stream must order it after
  // earlier ones that use the same activation memory. Throws Error.
  void enqueue(std::int64_t batch, const std::vector<CUdeviceptr> &addresses, CUstream stream);

 private:
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  const std::vector<Tensor> &tensors_;
  std::int64_t batch_ = 0;
  std::vector<CUdeviceptr> addresses_;
};

// A captured graph is valid as long as its context keeps its shape and addresses: NVIDIA's TensorRT documentation,
// "CUDA Graphs", "use one execution context per captured graph, and share memory across the contexts".
class KeptContext {
 public:
  KeptContext(PlanContext context, std::int64_t batch, std::vector<CUdeviceptr> addresses)
      : context_(std::move(context)), batch_(batch), addresses_(std::move(addresses)) {}

  // Starts an inference, as a graph if there is one.
  void start(CUstream stream);
  // Whether it has run and has no graph: TensorRT's first run of a shape does work that cannot be captured.
  bool can_capture() const { return ran_ && !graph_; }
  // Records an inference on the stream as a graph, without running it; other threads may call CUDA meanwhile. Throws
  // Error if it cannot be captured; the stream is unchanged.
  void capture(CUstream stream);

 private:
  PlanContext context_;
  std::int64_t batch_;
  std::vector<CUdeviceptr> addresses_;
  Owned<CUgraphExec> graph_;  // goes before the context that it was captured from
  bool ran_ = false;
};

}  // namespace wrn
