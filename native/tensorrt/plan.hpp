// plan.hpp: a plan, deserialized and checked against its bundle, that several execution contexts share.
#pragma once

#include <NvInferRuntime.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "context.hpp"
#include "memory.hpp"
#include "plan/library.hpp"
#include "runner/engine.hpp"

namespace wrn {

class Plan final : public Engine {
 public:
  // `runtime`: of the loaded TensorRT. `bytes`: the whole file. Throws Error.
  Plan(std::unique_ptr<nvinfer1::IRuntime> runtime, const std::string &bytes, const PlanFacts &facts,
       const Model &model, const PlanOptions &options);
  ~Plan() override;

  std::unique_ptr<Context> open_context() override;
  const Tensor &input() const override { return tensors_.front(); }
  std::int64_t largest() const override { return largest_; }
  std::int64_t smallest() const override { return smallest_; }
  bool takes_device_memory() const override { return true; }
  void check_device(const DeviceBatch &batch) const override;
  std::shared_ptr<void> lend(std::size_t bytes) override { return lent_->lend(bytes); }

  // The input, then the outputs.
  const std::vector<Tensor> &tensors() const { return tensors_; }
  const LentMemory &lent() const { return *lent_; }
  std::size_t activation_bytes() const { return activation_bytes_; }  // of a context, on any profile
  std::int64_t tuned_for() const { return profiles_.front().optimum; }
  std::size_t profile_for(std::int64_t batch) const { return choose_profile(profiles_, batch); }
  // Whether inferences run as CUDA graphs; off for good once a graph could not be captured.
  bool graphs() const { return graphs_; }
  void give_up_graphs() { graphs_ = false; }
#ifdef TRT_MAJOR_RTX
  static constexpr bool kCapturesItself = true;  // TensorRT-RTX captures the graphs of kept contexts
#else
  static constexpr bool kCapturesItself = false;
#endif

  // A context on a batch's profile.
  //   stream: prepares the profile; inferences must come after it.
  //   activations: of activation_bytes(), which contexts may share that never run at once; 0 if that is 0.
  //   kept: it is for this batch size alone, and TensorRT-RTX may capture a graph.
  PlanContext new_context(std::int64_t batch, CUstream stream, CUdeviceptr activations, bool kept);

 private:
  void check_tensors(const nvinfer1::ICudaEngine &engine) const;
  void check_profiles(const nvinfer1::ICudaEngine &engine) const;

  std::vector<Tensor> tensors_;
  std::vector<Profile> profiles_;
  std::int64_t smallest_, largest_;
  std::atomic<bool> graphs_;
  std::shared_ptr<LentMemory> lent_ = std::make_shared<LentMemory>();
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
#ifdef TRT_MAJOR_RTX
  // The kernels that TensorRT-RTX compiles for all contexts, and what contexts are made with, by `kept`.
  std::unique_ptr<nvinfer1::IRuntimeCache> compiled_;
  std::unique_ptr<nvinfer1::IRuntimeConfig> configs_[2];
#endif
  std::size_t activation_bytes_ = 0;
};

}  // namespace wrn
