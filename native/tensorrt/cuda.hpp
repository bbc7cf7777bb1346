// cuda.hpp: the CUDA driver, loaded at run time and never linked; its failures as errors, what it makes as owners.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "plan/validity.hpp"

namespace wrn {

// The calls that are used. cuda.h gives some another name: what it calls cuMemAlloc is exported as cuMemAlloc_v2.
#define WRN_CUDA_CALLS(call)                                                                             \
  call(cuInit) call(cuGetErrorString) call(cuDeviceGet) call(cuDeviceGetName) call(cuDeviceGetAttribute) \
  call(cuDevicePrimaryCtxRetain) call(cuCtxPushCurrent) call(cuCtxPopCurrent)                            \
  call(cuMemAlloc) call(cuMemFree) call(cuMemHostAlloc) call(cuMemFreeHost) call(cuPointerGetAttributes) \
  call(cuMemcpyHtoDAsync) call(cuMemcpyDtoHAsync) call(cuMemcpyDtoDAsync)                                \
  call(cuStreamCreate) call(cuStreamDestroy) call(cuStreamSynchronize) call(cuStreamWaitEvent)           \
  call(cuStreamBeginCapture) call(cuStreamEndCapture)                                                    \
  call(cuEventCreate) call(cuEventDestroy) call(cuEventRecord) call(cuEventSynchronize)                  \
  call(cuGraphInstantiateWithFlags) call(cuGraphLaunch) call(cuGraphDestroy) call(cuGraphExecDestroy)

struct CudaDriver {
#define WRN_MEMBER(name) decltype(&::name) name = nullptr;
  WRN_CUDA_CALLS(WRN_MEMBER)
#undef WRN_MEMBER
};

// Loaded by the first call. Throws Error, WRN_MACHINE, if there is none.
const CudaDriver &cuda_driver();

// Throws Error, WRN_MACHINE, if a call has failed; the text says whether this process can continue to use CUDA.
void check_cuda(CUresult result, const char *call);

#define WRN_CUDA(name, ...) ::wrn::check_cuda(::wrn::cuda_driver().name(__VA_ARGS__), #name)

// CUDA's first GPU; nothing: no GPU, or no driver.
std::optional<Gpu> find_gpu();

// Makes the first GPU's primary context, which the CUDA runtime uses too, current on this thread while it lives.
class OnGpu {
 public:
  OnGpu();
  ~OnGpu();
  OnGpu(const OnGpu &) = delete;
  OnGpu &operator=(const OnGpu &) = delete;
};

// Owns what the driver made; it must go while the context is current.
template <class T>
class Owned {
 public:
  using Free = CUresult(CUDAAPI *)(T);
  Owned() = default;
  Owned(T what, Free free) : what_(what), free_(free) {}
  Owned(Owned &&other) noexcept : what_(other.what_), free_(std::exchange(other.free_, nullptr)) {}
  Owned &operator=(Owned &&other) noexcept {
    std::swap(what_, other.what_), std::swap(free_, other.free_);
    return *this;
  }
  ~Owned() {
    if (free_ != nullptr) free_(what_);
  }
  T get() const { return what_; }
  explicit operator bool() const { return free_ != nullptr; }

 private:
  T what_{};
  Free free_ = nullptr;
};

Owned<CUdeviceptr> allocate_device(std::size_t bytes);
Owned<void *> allocate_pinned(std::size_t bytes);
// A stream that does not wait for the default stream, nor makes it wait.
Owned<CUstream> make_stream();
Owned<CUevent> make_event();

}  // namespace wrn
