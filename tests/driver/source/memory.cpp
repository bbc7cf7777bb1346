// Device memory and pinned memory, both of this process, and the copies between them.
#include <cstdlib>
#include <cstring>

#include "standin.hpp"

namespace {

constexpr size_t DEVICE_ALIGNMENT = 512, PINNED_ALIGNMENT = 4096;

struct Blocks {
    std::mutex mutex;
    std::map<uintptr_t, size_t> sizes;

    void* allocate(size_t bytes, size_t alignment) {
        void* made = std::aligned_alloc(alignment, (bytes / alignment + 1) * alignment);
        if (made == nullptr) return nullptr;
        std::memset(made, 0xFF, bytes);  // NaN, so that what nobody wrote is no answer
        std::lock_guard lock(mutex);
        sizes[reinterpret_cast<uintptr_t>(made)] = bytes;
        return made;
    }

    // Whether it was a block; another one may get the address at once.
    bool release(uintptr_t address) {
        {
            std::lock_guard lock(mutex);
            if (sizes.erase(address) == 0) return false;
        }
        std::free(reinterpret_cast<void*>(address));
        return true;
    }

    // The block that an address lies in: its start and size; {0, 0}: none.
    std::pair<uintptr_t, size_t> around(uintptr_t address) {
        std::lock_guard lock(mutex);
        auto next = sizes.upper_bound(address);
        if (next == sizes.begin()) return {0, 0};
        auto [start, size] = *--next;
        return address < start + size ? std::pair{start, size} : std::pair<uintptr_t, size_t>{0, 0};
    }

    size_t count() {
        std::lock_guard lock(mutex);
        return sizes.size();
    }
};

Blocks& device() {
    static auto* it = new Blocks;
    return *it;
}

Blocks& pinned() {
    static auto* it = new Blocks;
    return *it;
}

// A copy that reads and writes when its turn on the stream comes; `from` and `to` are checked again then.
standin::Work copy(const char* kind, void* to, const void* from, size_t bytes, uintptr_t on_device) {
    auto run = [=] {
        if (!standin::is_device(on_device, bytes)) {
            standin::violation("a copy ran on device memory that was freed before");
            return;
        }
        std::memmove(to, from, bytes);
    };
    return {kind, run, bytes};
}

CUresult out_of_range(const char* name) {
    standin::violation(std::string(name) + " beyond a block of device memory");
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult to_device(const char* name, CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    if (!standin::is_device(to, bytes)) return out_of_range(name);
    auto* target = reinterpret_cast<void*>(to);
    if (standin::is_pinned(from)) return standin::submit(stream, copy("copy in", target, from, bytes, to));
    // Pageable memory is copied before the call returns.
    auto kept = std::make_shared<std::vector<char>>(bytes);
    std::memcpy(kept->data(), from, bytes);
    auto run = [=] { std::memcpy(target, kept->data(), bytes); };
    return standin::submit(stream, {"copy in, pageable", run, bytes});
}

CUresult wait_for(CUstream handle, const char* name) {
    CUstream stream = nullptr;
    if (CUresult fault = standin::find_stream(handle, &stream, name); fault) return fault;
    stream->drain();
    return CUDA_SUCCESS;
}

CUresult from_device(const char* name, void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    if (!standin::is_device(from, bytes)) return out_of_range(name);
    const bool kept = standin::is_pinned(to);
    const char* kind = kept ? "copy out" : "copy out, pageable";
    CUresult fault = standin::submit(stream, copy(kind, to, reinterpret_cast<void*>(from), bytes, from));
    return fault || kept ? fault : wait_for(stream, name);
}

}  // namespace

namespace standin {

bool is_device(uintptr_t address, size_t bytes) {
    auto [start, size] = device().around(address);
    return size != 0 && address + bytes <= start + size;
}

bool is_pinned(const void* address) { return pinned().around(reinterpret_cast<uintptr_t>(address)).second != 0; }
size_t device_blocks() { return device().count(); }
size_t pinned_blocks() { return pinned().count(); }

size_t device_bytes() {
    std::lock_guard lock(device().mutex);
    size_t sum = 0;
    for (auto [start, size] : device().sizes) sum += size;
    return sum;
}

}  // namespace standin

CALL(cuMemAlloc, CUdeviceptr* address, size_t bytes) {
    ENTER_UNSAFE
    void* made = device().allocate(bytes, DEVICE_ALIGNMENT);
    *address = reinterpret_cast<CUdeviceptr>(made);
    return made != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL(cuMemFree, CUdeviceptr address) {
    CUresult fault = standin::enter(__func__);
    if (CUresult missing = standin::need_context(__func__); missing) return missing;
    if (CUresult unsafe = standin::refuse_capture(__func__); unsafe) return unsafe;
    standin::drain_all();  // as the driver does
    if (!device().release(address)) {
        standin::violation("cuMemFree of what is no block of device memory");
        return CUDA_ERROR_INVALID_VALUE;
    }
    return fault;
}

CALL(cuMemHostAlloc, void** address, size_t bytes, unsigned) {
    ENTER_UNSAFE
    *address = pinned().allocate(bytes, PINNED_ALIGNMENT);
    return *address != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL(cuMemAllocHost, void** address, size_t bytes) {
    ENTER_UNSAFE
    *address = pinned().allocate(bytes, PINNED_ALIGNMENT);
    return *address != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL(cuMemFreeHost, void* address) {
    CUresult fault = standin::enter(__func__);
    if (CUresult missing = standin::need_context(__func__); missing) return missing;
    if (CUresult unsafe = standin::refuse_capture(__func__); unsafe) return unsafe;
    standin::drain_all();
    if (!pinned().release(reinterpret_cast<uintptr_t>(address))) {
        standin::violation("cuMemFreeHost of what is no block of pinned memory");
        return CUDA_ERROR_INVALID_VALUE;
    }
    return fault;
}

CALL(cuMemGetInfo, size_t* free_bytes, size_t* total) {
    ENTER_CURRENT
    *total = size_t{141} << 30;
    *free_bytes = *total - standin::device_bytes();
    return CUDA_SUCCESS;
}

CALL(cuMemcpyHtoDAsync, CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    ENTER_CURRENT
    return to_device(__func__, to, from, bytes, stream);
}

CALL(cuMemcpyDtoHAsync, void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER_CURRENT
    return from_device(__func__, to, from, bytes, stream);
}

CALL(cuMemcpyDtoDAsync, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER_CURRENT
    if (!standin::is_device(from, bytes) || !standin::is_device(to, bytes)) return out_of_range(__func__);
    return standin::submit(
        stream, copy("copy", reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes, to));
}

// Any two addresses, as the driver's unified addressing allows.
CALL(cuMemcpyAsync, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER_CURRENT
    const bool writes = standin::is_device(to, 1), reads = standin::is_device(from, 1);
    if (writes && !reads) return to_device(__func__, to, reinterpret_cast<void*>(from), bytes, stream);
    if (reads && !writes) return from_device(__func__, reinterpret_cast<void*>(to), from, bytes, stream);
    if (!standin::is_device(from, bytes) || !standin::is_device(to, bytes)) return out_of_range(__func__);
    return standin::submit(
        stream, copy("copy", reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes, to));
}

CALL(cuMemcpyHtoD, CUdeviceptr to, const void* from, size_t bytes) {
    ENTER_UNSAFE
    CUresult fault = to_device(__func__, to, from, bytes, nullptr);
    return fault ? fault : wait_for(nullptr, __func__);
}

CALL(cuMemcpyDtoH, void* to, CUdeviceptr from, size_t bytes) {
    ENTER_UNSAFE
    CUresult fault = from_device(__func__, to, from, bytes, nullptr);
    return fault ? fault : wait_for(nullptr, __func__);
}

CALL(cuMemsetD8Async, CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    ENTER_CURRENT
    if (!standin::is_device(to, bytes)) return out_of_range(__func__);
    auto run = [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); };
    return standin::submit(stream, {"fill", run, bytes});
}

CALL(cuPointerGetAttributes, unsigned count, CUpointer_attribute* which, void** values, CUdeviceptr address) {
    ENTER_CURRENT
    const bool on_device = standin::is_device(address, 1);
    const bool on_host = !on_device && standin::is_pinned(reinterpret_cast<void*>(address));
    for (unsigned i = 0; i < count; ++i) switch (which[i]) {
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
            *static_cast<unsigned*>(values[i]) = on_device ? CU_MEMORYTYPE_DEVICE : on_host ? CU_MEMORYTYPE_HOST : 0;
            break;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
            *static_cast<int*>(values[i]) = on_device || on_host ? 0 : -2;
            break;
        default: return CUDA_ERROR_NOT_SUPPORTED;
    }
    return CUDA_SUCCESS;
}
