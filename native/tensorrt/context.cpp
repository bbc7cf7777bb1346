#include "context.hpp"

#include <algorithm>

#include "error.hpp"
#include "logger.hpp"
#include "text/format.hpp"

namespace wrn {

void PlanContext::enqueue(std::int64_t batch, const std::vector<CUdeviceptr> &addresses, CUstream stream) {
  const Tensor &input = tensors_.front();
  if (batch != batch_) {
    batch_ = 0;
    nvinfer1::Dims shape{};
    shape.nbDims = static_cast<std::int32_t>(input.shape.size()) + 1;
    shape.d[0] = batch;
    std::copy(input.shape.begin(), input.shape.end(), shape.d + 1);
    if (!context_->setInputShape(input.name.c_str(), shape))
      throw Error(WRN_ERROR, "the plan does not take " + std::to_string(batch) + " x " + tuple(input.shape) +
                                 logged() + ": rebuild it from this bundle");
    batch_ = batch;
  }
  if (addresses != addresses_) {
    addresses_.clear();
    for (std::size_t at = 0; at < tensors_.size(); ++at) {
      void *memory = reinterpret_cast<void *>(addresses[at]);
      if (!context_->setTensorAddress(tensors_[at].name.c_str(), memory))
        throw Error(WRN_ERROR, "the plan does not take the memory for " + tensors_[at].name + logged());
    }
    addresses_ = addresses;
  }
  if (!context_->enqueueV3(stream)) throw Error(WRN_MACHINE, "TensorRT could not start the inference" + logged());
}

void KeptContext::start(CUstream stream) {
  if (graph_) {
    WRN_CUDA(cuGraphLaunch, graph_.get(), stream);
    return;
  }
  context_.enqueue(batch_, addresses_, stream);
  ran_ = true;
}

void KeptContext::capture(CUstream stream) {
  WRN_CUDA(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  CUgraph recorded = nullptr;
  try {
    context_.enqueue(batch_, addresses_, stream);
  } catch (const Error &) {  // the stream must leave capture mode in any case
    if (cuda_driver().cuStreamEndCapture(stream, &recorded) == CUDA_SUCCESS && recorded != nullptr)
      cuda_driver().cuGraphDestroy(recorded);
    throw;
  }
  WRN_CUDA(cuStreamEndCapture, stream, &recorded);
  const Owned<CUgraph> graph(recorded, cuda_driver().cuGraphDestroy);
  CUgraphExec made = nullptr;
  WRN_CUDA(cuGraphInstantiateWithFlags, &made, graph.get(), 0);
  graph_ = {made, cuda_driver().cuGraphExecDestroy};
}

}  // namespace wrn
