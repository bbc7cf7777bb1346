// One device, and its primary context on a stack for each thread.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "standin.hpp"

namespace {

CUctx_st the_primary_context;
std::atomic<int> retains{0};
thread_local std::vector<CUcontext> stack;

int compute_capability() {
    const char* text = std::getenv("STANDIN_CC");
    int major = 9, minor = 0;
    if (text != nullptr) std::sscanf(text, "%d.%d", &major, &minor);
    return 10 * major + minor;
}

}  // namespace

namespace standin {

CUcontext current() { return stack.empty() ? nullptr : stack.back(); }
CUcontext primary() { return &the_primary_context; }
size_t context_depth() { return stack.size(); }
int retained() { return retains; }

}  // namespace standin

CALL(cuInit, unsigned) {
    ENTER
    return CUDA_SUCCESS;
}

CALL(cuDriverGetVersion, int* version) {
    ENTER
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CALL(cuDeviceGetCount, int* count) {
    ENTER
    *count = 1;
    return CUDA_SUCCESS;
}

CALL(cuDeviceGet, CUdevice* device, int ordinal) {
    ENTER
    *device = 0;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CALL(cuDeviceGetName, char* name, int length, CUdevice) {
    ENTER
    std::snprintf(name, length, "NVIDIA H200");
    return CUDA_SUCCESS;
}

CALL(cuDeviceGetUuid, CUuuid* uuid, CUdevice) {
    ENTER
    std::memset(uuid, 7, sizeof *uuid);
    return CUDA_SUCCESS;
}

CALL(cuDeviceGetPCIBusId, char* text, int length, CUdevice) {
    ENTER
    std::snprintf(text, length, "0000:01:00.0");
    return CUDA_SUCCESS;
}

CALL(cuDeviceGetByPCIBusId, CUdevice* device, const char*) {
    ENTER
    *device = 0;
    return CUDA_SUCCESS;
}

CALL(cuDeviceTotalMem, size_t* bytes, CUdevice) {
    ENTER
    *bytes = size_t{141} << 30;
    return CUDA_SUCCESS;
}

CALL(cuDeviceComputeCapability, int* major, int* minor, CUdevice) {
    ENTER
    *major = compute_capability() / 10;
    *minor = compute_capability() % 10;
    return CUDA_SUCCESS;
}

CALL(cuDeviceGetAttribute, int* value, CUdevice_attribute attribute, CUdevice) {
    ENTER
    switch (attribute) {  // an H200's; PyCUDA asks for some when it is imported
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = compute_capability() / 10; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = compute_capability() % 10; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1980000; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 2619000; break;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 6144; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 3; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CALL(cuDevicePrimaryCtxRetain, CUcontext* context, CUdevice) {
    ENTER
    ++retains;
    *context = standin::primary();
    return CUDA_SUCCESS;
}

CALL(cuDevicePrimaryCtxRelease, CUdevice) {
    CUresult fault = standin::enter(__func__);
    --retains;
    return fault;
}

CALL(cuDevicePrimaryCtxGetState, CUdevice, unsigned* flags, int* active) {
    ENTER
    *flags = 0;
    *active = retains > 0;
    return CUDA_SUCCESS;
}

CALL(cuCtxPushCurrent, CUcontext context) {
    if (CUresult fault = standin::enter(__func__, true); fault) return fault;
    stack.push_back(context);
    return CUDA_SUCCESS;
}

CALL(cuCtxPopCurrent, CUcontext* context) {
    CUresult fault = standin::enter(__func__, true);
    if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (context != nullptr) *context = stack.back();
    stack.pop_back();
    return fault;  // as the driver's documentation says: of earlier work, the context is popped
}

CALL(cuCtxSetCurrent, CUcontext context) {
    if (CUresult fault = standin::enter(__func__, true); fault) return fault;
    if (!stack.empty()) stack.pop_back();
    if (context != nullptr) stack.push_back(context);
    return CUDA_SUCCESS;
}

CALL(cuCtxGetCurrent, CUcontext* context) {
    *context = standin::current();
    return CUDA_SUCCESS;
}

// For contexts of cuCtxCreate and cuCtxAttach only; the primary one has cuDevicePrimaryCtxRelease.
CALL(cuCtxDetach, CUcontext) {
    ENTER
    standin::violation("cuCtxDetach of the primary context");
    return CUDA_ERROR_INVALID_CONTEXT;
}

CALL(cuCtxGetDevice, CUdevice* device) {
    ENTER_CURRENT
    *device = 0;
    return CUDA_SUCCESS;
}

CALL(cuCtxGetApiVersion, CUcontext, unsigned* version) {
    ENTER
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CALL(cuCtxGetStreamPriorityRange, int* least, int* greatest) {
    ENTER_CURRENT
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}

CALL(cuCtxSynchronize, void) {
    ENTER_UNSAFE
    standin::drain_all();
    return CUDA_SUCCESS;
}
