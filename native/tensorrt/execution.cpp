#include "execution.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "error.hpp"

namespace wrn {
namespace {

constexpr std::size_t kMostKept = 8;  // each graph keeps the arguments of some hundred kernels on the GPU
// Bytes of a batch and its outputs up to which they are copied so that a graph runs: to start the kernels of a network
// one by one takes the CPU 150 us or more; to copy this much takes an H200 about 8 us (at 4.3 TB/s).
constexpr std::size_t kMostCopied = 16U << 20;

// The smallest power of two that is not below.
std::int64_t rounded_up(std::int64_t number) {
  std::int64_t made = 1;
  while (made < number) made *= 2;
  return made;
}

CUdeviceptr address_of(const void *memory) { return reinterpret_cast<CUdeviceptr>(memory); }

}  // namespace

Execution::Execution(Plan &plan) : plan_(plan) {
  const OnGpu current;
  try {
    on_device_->stream = make_stream();
    if (plan_.activation_bytes() > 0) on_device_->activations = allocate_device(plan_.activation_bytes());
    context_for(plan_.tuned_for());  // fails now, not at the first inference
  } catch (...) {
    on_device_.reset();
    throw;
  }
}

Execution::~Execution() {
  try {
    const OnGpu current;
    drop();
    on_device_.reset();
  } catch (const Error &) {  // the GPU is lost: the driver refuses to free, and that is all
  }
}

void Execution::infer(const void *images, std::int64_t count, std::size_t wanted, const void **results) {
  const OnGpu current;
  const Size size{count, 0};
  Buffers &buffers = buffers_for(size);
  CUstream stream = on_device_->stream.get();
  const std::size_t bytes = bytes_of(0, count);
  const void *source = pinned(images, bytes, buffers);
  KeptContext *kept = nullptr;
  try {
    WRN_CUDA(cuMemcpyHtoDAsync, buffers.device(0), source, bytes, stream);
    kept = kept_for(size, buffers);
    enqueue(size, buffers, kept, stream);
    download(count, wanted, buffers, stream);
    WRN_CUDA(cuStreamSynchronize, stream);
  } catch (...) {
    settle(stream);  // nothing reads the images any more
    throw;
  }
  for (std::size_t at = 0; at < wanted; ++at) results[at] = buffers.host(at + 1);
  capture(kept);
}

void Execution::start(const void *images, std::int64_t count, std::size_t wanted, int turn) {
  const OnGpu current;
  OnDevice &on = *on_device_;
  if (!on.in) on.in = make_stream();
  if (!on.out) on.out = make_stream();
  for (Owned<CUevent> *event : {&on.uploaded, &on.computed, &on.downloaded[turn]})
    if (!*event) *event = make_event();
  const Size size{count, turn};
  Buffers &buffers = buffers_for(size);
  const std::size_t bytes = bytes_of(0, count);
  const void *source = pinned(images, bytes, buffers);
  WRN_CUDA(cuMemcpyHtoDAsync, buffers.device(0), source, bytes, on.in.get());
  WRN_CUDA(cuEventRecord, on.uploaded.get(), on.in.get());
  WRN_CUDA(cuStreamWaitEvent, on.stream.get(), on.uploaded.get(), 0);
  KeptContext *kept = kept_for(size, buffers);
  enqueue(size, buffers, kept, on.stream.get());
  WRN_CUDA(cuEventRecord, on.computed.get(), on.stream.get());
  WRN_CUDA(cuStreamWaitEvent, on.out.get(), on.computed.get(), 0);
  download(count, wanted, buffers, on.out.get());
  WRN_CUDA(cuEventRecord, on.downloaded[turn].get(), on.out.get());
  started_[turn] = {count, wanted};
  capture(kept);
}

void Execution::finish(int turn, const void **results) {
  const OnGpu current;
  WRN_CUDA(cuEventSynchronize, on_device_->downloaded[turn].get());
  Buffers &buffers = buffers_for({started_[turn].count, turn});
  for (std::size_t at = 0; at < started_[turn].wanted; ++at) results[at] = buffers.host(at + 1);
}

void Execution::drop() noexcept {
  try {
    const OnGpu current;
    for (const Owned<CUstream> *stream : {&on_device_->in, &on_device_->stream, &on_device_->out})
      if (*stream) settle(stream->get());
  } catch (const Error &) {  // the GPU is lost
  }
}

void Execution::infer_device(const DeviceBatch &batch, void *given) {
  const OnGpu current;
  const auto &tensors = plan_.tensors();
  check_memory(batch.images, tensors.front());
  for (std::size_t at = 0; at < batch.outputs.size(); ++at) check_memory(batch.outputs[at], tensors[at + 1]);
  const Size size{batch.count, kForeign};
  Buffers &buffers = buffers_for(size);
  std::size_t copied = bytes_of(0, batch.count);
  for (std::size_t at = 0; at < batch.outputs.size(); ++at) copied += bytes_of(at + 1, batch.count);
  KeptContext *kept = copied <= kMostCopied ? kept_for(size, buffers) : nullptr;
  CUstream own = on_device_->stream.get();
  auto *const stream = static_cast<CUstream>(given);
  follow(own, stream);
  try {
    if (kept == nullptr) {
      std::vector<CUdeviceptr> addresses = {address_of(batch.images)};
      for (void *output : batch.outputs) addresses.push_back(address_of(output));
      for (std::size_t at = addresses.size(); at < tensors.size(); ++at) addresses.push_back(buffers.device(at));
      context_for(batch.count).enqueue(batch.count, addresses, stream);
    } else {
      WRN_CUDA(cuMemcpyDtoDAsync, buffers.device(0), address_of(batch.images), bytes_of(0, batch.count), stream);
      kept->start(stream);
      for (std::size_t at = 0; at < batch.outputs.size(); ++at)
        WRN_CUDA(cuMemcpyDtoDAsync, address_of(batch.outputs[at]), buffers.device(at + 1),
                 bytes_of(at + 1, batch.count), stream);
    }
    follow(stream, own);
  } catch (...) {
    settle(stream);  // else the memory in use would be freed, or used again
    throw;
  }
  capture(kept);
}

// The images in memory that a copy to the GPU reads directly: where they are, if that is lent, or in the buffers.
const void *Execution::pinned(const void *images, std::size_t bytes, Buffers &buffers) const {
  if (plan_.lent().holds(images, bytes)) return images;
  return std::memcpy(buffers.host(0), images, bytes);
}

void Execution::download(std::int64_t count, std::size_t wanted, Buffers &buffers, CUstream stream) {
  for (std::size_t at = 1; at <= wanted; ++at)
    WRN_CUDA(cuMemcpyDtoHAsync, buffers.host(at), buffers.device(at), bytes_of(at, count), stream);
}

// Buffers for a batch; they keep their addresses, which graphs contain. Their capacities are powers of two, so those
// for all sizes are at most twice as large as those for the largest.
Buffers &Execution::buffers_for(const Size &size) {
  plan_.profile_for(size.first);
  const Size key{std::min(rounded_up(size.first), plan_.largest()), size.second};
  return on_device_->buffers.try_emplace(key, plan_.tensors(), key.first).first->second;
}

PlanContext &Execution::context_for(std::int64_t batch) {
  const std::size_t profile = plan_.profile_for(batch);
  const auto found = on_device_->contexts.find(profile);
  if (found != on_device_->contexts.end()) return found->second;
  PlanContext made =
      plan_.new_context(batch, on_device_->stream.get(), on_device_->activations.get(), false);
  return on_device_->contexts.emplace(profile, std::move(made)).first->second;
}

// The context of this size, made at the second use: a size used once is not worth it. nullptr: none.
KeptContext *Execution::kept_for(const Size &size, Buffers &buffers) {
  if (!plan_.graphs()) return nullptr;
  auto &all = on_device_->kept;
  ++calls_;
  const auto found = all.find(size);
  if (found != all.end()) {
    found->second.used = calls_;
    return &found->second.context;
  }
  if (++uses_[size] < 2) return nullptr;
  CUstream stream = on_device_->stream.get();
  if (all.size() >= kMostKept) {
    WRN_CUDA(cuStreamSynchronize, stream);  // a context must not go while its kernels run
    const auto oldest = std::min_element(
        all.begin(), all.end(), [](const auto &a, const auto &b) { return a.second.used < b.second.used; });
    uses_.erase(oldest->first);
    all.erase(oldest);
  }
  KeptContext made(plan_.new_context(size.first, stream, on_device_->activations.get(), true), size.first,
                   buffers.addresses());
  return &all.emplace(size, Kept{std::move(made), calls_}).first->second.context;
}

// Starts an inference on own buffers.
void Execution::enqueue(const Size &size, Buffers &buffers, KeptContext *kept, CUstream stream) {
  if (kept != nullptr)
    kept->start(stream);
  else
    context_for(size.first).enqueue(size.first, buffers.addresses(), stream);
}

// Captures the graph of a context that has just run without one; the next time it runs as a graph. This inference is
// computed whether or not the capture succeeds.
void Execution::capture(KeptContext *kept) {
  if (kept == nullptr || Plan::kCapturesItself || !kept->can_capture() || !plan_.graphs()) return;
  try {
    kept->capture(on_device_->stream.get());
  } catch (const Error &) {  // kernels are launched one by one
    plan_.give_up_graphs();
  }
}

// Makes work started on `later` from now on wait for the work already on `earlier`; blocks nothing else.
void Execution::follow(CUstream earlier, CUstream later) {
  Owned<CUevent> &event = on_device_->event;
  if (!event) event = make_event();
  WRN_CUDA(cuEventRecord, event.get(), earlier);
  WRN_CUDA(cuStreamWaitEvent, later, event.get(), 0);
}

// Throws Error unless CUDA knows the address as memory of the first GPU: no process recovers from the error of using an
// invalid one.
void Execution::check_memory(const void *address, const Tensor &tensor) const {
  unsigned type = 0;
  int device = -1;
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void *answers[] = {&type, &device};
  WRN_CUDA(cuPointerGetAttributes, 2, asked, answers, address_of(address));
  if (type == CU_MEMORYTYPE_DEVICE && device == 0) return;  // of managed memory too
  char shown[24];
  std::snprintf(shown, sizeof shown, "0x%llx", static_cast<unsigned long long>(address_of(address)));
  throw Error(WRN_ERROR, "the array for " + tensor.name + " at " + shown + " is " +
                             (type == CU_MEMORYTYPE_HOST     ? "host memory"
                              : type == CU_MEMORYTYPE_DEVICE ? "memory of device " + std::to_string(device)
                                                             : "no memory that CUDA knows") +
                             ": expected memory of the first CUDA GPU");
}

// Waits, whatever happens.
void Execution::settle(CUstream stream) const noexcept {
  if (on_device_->stream) cuda_driver().cuStreamSynchronize(stream);
}

std::size_t Execution::bytes_of(std::size_t tensor, std::int64_t batch) const {
  return static_cast<std::size_t>(batch) * plan_.tensors()[tensor].image_bytes;
}

}  // namespace wrn
