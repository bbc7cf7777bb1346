// What the functions of the CUDA runtime need beside the driver's own: see generate.py.
#include <cuda.h>
#include <cuda_runtime_api.h>

extern "C" int standin_pointer(void* out, unsigned long long address) {
    unsigned memory = 0;
    int device = -2;
    CUpointer_attribute which[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
    void* values[] = {&memory, &device};
    if (CUresult fault = cuPointerGetAttributes(2, which, values, address); fault != CUDA_SUCCESS) return fault;
    auto* found = static_cast<cudaPointerAttributes*>(out);
    found->type = memory == CU_MEMORYTYPE_HOST     ? cudaMemoryTypeHost
                  : memory == CU_MEMORYTYPE_DEVICE ? cudaMemoryTypeDevice
                                                   : cudaMemoryTypeUnregistered;
    found->device = device;
    found->devicePointer = reinterpret_cast<void*>(address);
    found->hostPointer = nullptr;
    return CUDA_SUCCESS;
}

extern "C" const char* standin_error(int error) {
    const char* text = nullptr;
    cuGetErrorString(static_cast<CUresult>(error), &text);
    return text;
}

extern "C" int standin_copy(void* to, const void* from, size_t bytes, void* stream) {
    return cuMemcpyAsync(
        reinterpret_cast<CUdeviceptr>(to), reinterpret_cast<CUdeviceptr>(from), bytes, static_cast<CUstream>(stream));
}
