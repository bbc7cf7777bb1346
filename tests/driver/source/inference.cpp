// The kernel of the engine on the stand-in: sums over slices of each image, and the rules of execution contexts.
#include <algorithm>
#include <cstring>
#include <set>

#include "standin.hpp"

namespace {

// An execution context of TensorRT: what is known of it while its work is under way.
struct Execution {
    std::atomic<long> version{0};   // counts the changes of shape, address, memory or profile
    std::atomic<long> queued{0};    // inferences that were started and have not ended
    std::atomic<bool> gone{false};
};

struct Tensor {
    uint64_t address;
    long elements;  // of one image
    int dtype;      // 0 float32, 1 uint8, 2 int32, 3 int64
};

constexpr int MAX_TENSORS = 8;
constexpr size_t SIZES[] = {4, 1, 4, 8};

// As the Python side lays it out.
struct Inference {
    void* execution;
    uint64_t activations;
    long activation_bytes;
    long batch;
    long count;  // of tensors, the input first
    long microseconds;
    Tensor tensors[MAX_TENSORS];
};

std::atomic<long> started{0}, contexts{0};

double read(const char* memory, int dtype, long index) {
    switch (dtype) {
        case 0: return reinterpret_cast<const float*>(memory)[index];
        case 1: return reinterpret_cast<const unsigned char*>(memory)[index];
        case 2: return reinterpret_cast<const int32_t*>(memory)[index];
        default: return static_cast<double>(reinterpret_cast<const int64_t*>(memory)[index]);
    }
}

void write(char* memory, int dtype, long index, double value) {
    switch (dtype) {
        case 0: reinterpret_cast<float*>(memory)[index] = static_cast<float>(value); break;
        case 1: reinterpret_cast<unsigned char*>(memory)[index] = static_cast<unsigned char>(value); break;
        case 2: reinterpret_cast<int32_t*>(memory)[index] = static_cast<int32_t>(value); break;
        default: reinterpret_cast<int64_t*>(memory)[index] = static_cast<int64_t>(value);
    }
}

size_t bytes_of(const Inference& it, int tensor) {
    return it.batch * it.tensors[tensor].elements * SIZES[it.tensors[tensor].dtype];
}

// Element j of an output is the sum of the image's elements j, j + n, j + 2n, ...: n elements has the output.
std::vector<double> sums(const Inference& it, int output) {
    const long taken = it.tensors[0].elements, given = it.tensors[output].elements;
    const auto* images = reinterpret_cast<const char*>(it.tensors[0].address);
    std::vector<double> result(it.batch * given);
    for (long image = 0; image < it.batch; ++image)
        for (long i = 0; i < taken; ++i)
            result[image * given + i % given] += read(images, it.tensors[0].dtype, image * taken + i);
    return result;
}

uint64_t checksum(const Inference& it) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(it.tensors[0].address);
    uint64_t sum = 0, word = 0;
    for (size_t i = 0, size = bytes_of(it, 0); i < size; i += sizeof word) {
        std::memcpy(&word, bytes + i, std::min(sizeof word, size - i));
        sum = sum * 31 + word;
    }
    return sum;
}

// Activation memory that an inference uses now; one block must never serve two at once.
struct Busy {
    std::mutex mutex;
    std::set<uint64_t> blocks;
    bool enter(uint64_t block) {
        std::lock_guard lock(mutex);
        return blocks.insert(block).second;
    }
    void leave(uint64_t block) {
        std::lock_guard lock(mutex);
        blocks.erase(block);
    }
};

Busy& busy() {
    static auto* it = new Busy;
    return *it;
}

void run(const Inference& it, const Execution& execution, long version, bool captured) {
    for (int i = 0; i < it.count; ++i)
        if (!standin::is_device(it.tensors[i].address, bytes_of(it, i)))
            return standin::violation("an inference ran on device memory that was freed before");
    for (int i = 1; i < it.count; ++i)
        std::memset(reinterpret_cast<void*>(it.tensors[i].address), 0xFF, bytes_of(it, i));
    if (captured && execution.gone) return standin::violation("a graph ran whose execution context is gone");
    if (!standin::is_device(it.activations, it.activation_bytes))
        return standin::violation("an inference ran on activation memory that was freed before");
    if (captured && execution.version != version)  // it computes nothing: the answers are wrong, as they may be
        return standin::violation("a graph ran after the shape, addresses, memory or profile of its context changed");
    if (!busy().enter(it.activations))
        return standin::violation("two inferences at once in one block of activation memory");
    std::vector<std::vector<double>> results;
    const uint64_t before = checksum(it);
    for (int i = 1; i < it.count; ++i) results.push_back(sums(it, i));
    if (it.microseconds > 0) std::this_thread::sleep_for(std::chrono::microseconds(it.microseconds));
    if (checksum(it) != before) standin::violation("the input was overwritten while an inference read it");
    for (int i = 1; i < it.count; ++i)
        for (size_t j = 0; j < results[i - 1].size(); ++j)
            write(reinterpret_cast<char*>(it.tensors[i].address), it.tensors[i].dtype, j, results[i - 1][j]);
    busy().leave(it.activations);
}

}  // namespace

namespace standin {

long inferences() { return started; }
size_t live_execution_contexts() { return contexts; }

}  // namespace standin

EXPORT void* standin_execution_new() {
    ++contexts;
    return new std::shared_ptr<Execution>(std::make_shared<Execution>());
}

EXPORT void standin_execution_changed(void* handle) { ++(*static_cast<std::shared_ptr<Execution>*>(handle))->version; }

EXPORT void standin_execution_delete(void* handle) {
    auto* execution = static_cast<std::shared_ptr<Execution>*>(handle);
    if (standin::current() == nullptr)
        standin::violation("an execution context was destroyed without a current context");
    if ((*execution)->queued > 0)
        standin::violation("an execution context was destroyed while its inference was under way");
    (*execution)->gone = true;
    --contexts;
    delete execution;
}

// Starts an inference on a stream, or adds it to the stream's capture.
EXPORT int standin_infer(CUstream handle, const Inference* given) {
    ENTER_CURRENT
    CUstream stream = nullptr;
    if (CUresult fault = standin::find_stream(handle, &stream, __func__); fault) return fault;
    const Inference it = *given;
    for (int i = 0; i < it.count; ++i)
        if (!standin::is_device(it.tensors[i].address, bytes_of(it, i))) {
            standin::violation("an inference was started on memory that is not the device's");
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        }
    const bool captured = stream->capture != nullptr;
    auto execution = *static_cast<std::shared_ptr<Execution>*>(it.execution);
    const long version = execution->version;
    if (!captured) {
        ++started;
        ++execution->queued;
    }
    return standin::submit(handle, {"inference", [=] {
                                        run(it, *execution, version, captured);
                                        if (!captured) --execution->queued;
                                    }});
}
