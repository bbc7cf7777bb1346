#include "cuda.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <mutex>

#include "error.hpp"

namespace wrn {
namespace {

// Parts of CUDA's messages after which a process cannot use CUDA again: the CUDA runtime's documentation, cudaError_t,
// "the process must be terminated and relaunched".
constexpr const char *kLost[] = {"illegal",  "misaligned",    "launch fail",   "launch timed out", "assert",
                                 "hardware", "uncorrectable", "address space", "program counter",  "unknown error"};

// nullptr: there is no driver; `why` says so.
const CudaDriver *load(std::string &why) {
  static std::mutex loading;
  static CudaDriver kept;
  static bool loaded = false;
  const std::lock_guard<std::mutex> lock(loading);
  if (loaded) return &kept;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // never unloaded
  if (library == nullptr) {
    why = dlerror();
    return nullptr;
  }
  CudaDriver found;
#define WRN_TEXT(name) #name
#define WRN_LOAD(name)                                                          \
  *reinterpret_cast<void **>(&found.name) = dlsym(library, WRN_TEXT(name));     \
  if (found.name == nullptr) {                                                  \
    why = std::string("libcuda.so.1 has no ") + WRN_TEXT(name);                 \
    return nullptr;                                                             \
  }
  WRN_CUDA_CALLS(WRN_LOAD)
#undef WRN_LOAD
#undef WRN_TEXT
  kept = found, loaded = true;
  return &kept;
}

// Retained until the process ends: the last release would destroy what other libraries keep in it.
CUcontext primary_context() {
  static std::mutex making;
  static CUcontext kept = nullptr;
  const std::lock_guard<std::mutex> lock(making);
  if (kept != nullptr) return kept;
  CUdevice device = 0;
  CUcontext made = nullptr;
  WRN_CUDA(cuInit, 0);
  WRN_CUDA(cuDeviceGet, &device, 0);
  WRN_CUDA(cuDevicePrimaryCtxRetain, &made, device);
  kept = made;
  return kept;
}

}  // namespace

const CudaDriver &cuda_driver() {
  std::string why;
  const CudaDriver *found = load(why);
  if (found == nullptr)
    throw Error(WRN_MACHINE, "cannot load the CUDA driver (" + why + "): install NVIDIA's driver for this GPU");
  return *found;
}

void check_cuda(CUresult result, const char *call) {
  if (result == CUDA_SUCCESS) return;
  const char *said = nullptr;
  if (cuda_driver().cuGetErrorString(result, &said) != CUDA_SUCCESS || said == nullptr) said = "unknown error";
  std::string reason = said;
  std::transform(reason.begin(), reason.end(), reason.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  const bool lost = std::any_of(std::begin(kLost), std::end(kLost),
                                [&reason](const char *part) { return reason.find(part) != reason.npos; });
  throw Error(WRN_MACHINE, std::string("CUDA failed (") + call + " failed: " + said + "): " +
                               (lost ? "this process has lost the GPU, start it again"
                                     : "free GPU memory, or look at the GPU with nvidia-smi"));
}

std::optional<Gpu> find_gpu() {
  std::string why;
  const CudaDriver *driver = load(why);
  CUdevice device = 0;
  int major = 0, minor = 0;
  char name[256] = "";
  if (driver == nullptr || driver->cuInit(0) != CUDA_SUCCESS || driver->cuDeviceGet(&device, 0) != CUDA_SUCCESS ||
      driver->cuDeviceGetName(name, sizeof name, device) != CUDA_SUCCESS ||
      driver->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) != CUDA_SUCCESS ||
      driver->cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device) != CUDA_SUCCESS)
    return std::nullopt;
  return Gpu{name, std::to_string(major) + "." + std::to_string(minor)};
}

OnGpu::OnGpu() { WRN_CUDA(cuCtxPushCurrent, primary_context()); }

OnGpu::~OnGpu() {
  CUcontext popped = nullptr;
  cuda_driver().cuCtxPopCurrent(&popped);  // an error would be of earlier work: the context is popped
}

Owned<CUdeviceptr> allocate_device(std::size_t bytes) {
  CUdeviceptr made = 0;
  WRN_CUDA(cuMemAlloc, &made, bytes);
  return {made, cuda_driver().cuMemFree};
}

Owned<void *> allocate_pinned(std::size_t bytes) {
  void *made = nullptr;
  WRN_CUDA(cuMemHostAlloc, &made, bytes, 0);
  return {made, cuda_driver().cuMemFreeHost};
}

Owned<CUstream> make_stream() {
  CUstream made = nullptr;
  WRN_CUDA(cuStreamCreate, &made, CU_STREAM_NON_BLOCKING);
  return {made, cuda_driver().cuStreamDestroy};
}

Owned<CUevent> make_event() {
  CUevent made = nullptr;
  WRN_CUDA(cuEventCreate, &made, CU_EVENT_DISABLE_TIMING);
  return {made, cuda_driver().cuEventDestroy};
}

}  // namespace wrn
