// Every call passes here: it is counted, can be made to fail, and what breaks a rule of CUDA's is kept for the tests.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "standin.hpp"

namespace {

struct State {
    std::mutex mutex;
    long calls = 0;
    long fails_at = 0;       // the number of the call that fails; 0: none
    bool for_ever = false;   // all calls from that one on fail
    CUresult error = CUDA_SUCCESS;
    std::string failed;      // the name of the call that failed first
    std::vector<std::string> violations;
    FILE* log = nullptr;
};

State& state() {
    static State* it = [] {
        auto* made = new State;  // never destroyed: threads of streams outlive main
        const char* path = std::getenv("STANDIN_LOG");
        if (path != nullptr) made->log = std::strcmp(path, "-") == 0 ? stderr : std::fopen(path, "a");
        return made;
    }();
    return *it;
}

const char* text_of(CUresult error) {
    switch (error) {  // as the driver says it
        case CUDA_SUCCESS: return "no error";
        case CUDA_ERROR_INVALID_VALUE: return "invalid argument";
        case CUDA_ERROR_OUT_OF_MEMORY: return "out of memory";
        case CUDA_ERROR_INVALID_CONTEXT: return "invalid device context";
        case CUDA_ERROR_INVALID_HANDLE: return "invalid resource handle";
        case CUDA_ERROR_NOT_READY: return "device not ready";
        case CUDA_ERROR_ILLEGAL_ADDRESS: return "an illegal memory access was encountered";
        case CUDA_ERROR_LAUNCH_FAILED: return "unspecified launch failure";
        case CUDA_ERROR_NOT_SUPPORTED: return "operation not supported";
        case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: return "operation not permitted when stream is capturing";
        case CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: return "operation failed due to a previous error during capture";
        case CUDA_ERROR_UNKNOWN: return "unknown error";
        default: return "another error";
    }
}

}  // namespace

namespace standin {

CUresult enter(const char* name, bool of_stack) {
    State& s = state();
    std::lock_guard lock(s.mutex);
    if (of_stack && s.fails_at != 0 && !s.for_ever) return CUDA_SUCCESS;
    ++s.calls;
    if (s.log != nullptr) {
        std::fprintf(s.log, "%ld %s\n", s.calls, name);
        std::fflush(s.log);
    }
    if (s.fails_at == 0 || s.calls < s.fails_at || (s.calls > s.fails_at && !s.for_ever)) return CUDA_SUCCESS;
    if (s.calls == s.fails_at) s.failed = name;
    return s.error;
}

CUresult need_context(const char* name) {
    if (current() != nullptr) return CUDA_SUCCESS;
    violation(std::string(name) + " without a current context");
    return CUDA_ERROR_INVALID_CONTEXT;
}

CUresult refuse_capture(const char* name) {
    if (!this_thread_captures()) return CUDA_SUCCESS;
    violation(std::string(name) + " while this thread captures");
    invalidate_captures_of_this_thread();
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

void violation(const std::string& text) {
    State& s = state();
    std::lock_guard lock(s.mutex);
    s.violations.push_back(text);
    if (s.log != nullptr) std::fprintf(s.log, "VIOLATION %s\n", text.c_str());
}

}  // namespace standin

// Stubs of functions that are not implemented end here: see generate.py.
EXPORT int standin_missing(const char* name) {
    standin::enter(name);
    standin::violation(std::string(name) + " is not implemented by the stand-in");
    return CUDA_ERROR_NOT_SUPPORTED;
}

// The n-th call from now fails with `error`, and with `for_ever` all after it; n = 0: none does.
EXPORT void standin_fail(long n, int error, int for_ever) {
    State& s = state();
    std::lock_guard lock(s.mutex);
    s.fails_at = n > 0 ? s.calls + n : 0;
    s.error = static_cast<CUresult>(error);
    s.for_ever = for_ever != 0;
    s.failed.clear();
}

// The name of the call that was made to fail, empty if none was; valid until the next call of this function.
EXPORT const char* standin_failed() {
    static thread_local std::string text;
    State& s = state();
    std::lock_guard lock(s.mutex);
    text = s.failed;
    return text.c_str();
}

// What broke a rule since the last call of this function, a line each; valid until the next one.
EXPORT const char* standin_violations() {
    static thread_local std::string text;
    text.clear();
    State& s = state();
    std::lock_guard lock(s.mutex);
    for (const auto& each : s.violations) text += each + "\n";
    s.violations.clear();
    return text.c_str();
}

// A violation that was noticed outside of the driver, by the engine that runs on it.
EXPORT void standin_violation(const char* text) { standin::violation(text); }

EXPORT void standin_counts(long* counts) {
    const standin::Alive alive = standin::alive();
    long calls;
    {
        State& s = state();
        std::lock_guard lock(s.mutex);
        calls = s.calls;
    }
    const long values[] = {
        calls, standin::launches(), standin::instantiated(), standin::inferences(), static_cast<long>(alive.instances),
        static_cast<long>(alive.graphs), static_cast<long>(alive.events), static_cast<long>(standin::device_blocks()),
        static_cast<long>(standin::device_bytes()), static_cast<long>(standin::pinned_blocks()),
        static_cast<long>(standin::live_streams()), static_cast<long>(standin::live_execution_contexts()),
        static_cast<long>(standin::context_depth()), standin::retained(),
    };
    std::memcpy(counts, values, sizeof values);
}

// At the end of a process: what is alive and what broke a rule, into the file that STANDIN_REPORT names.
__attribute__((destructor)) static void report() {
    const char* path = std::getenv("STANDIN_REPORT");
    FILE* file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file == nullptr) return;
    State& s = state();
    std::lock_guard lock(s.mutex);
    std::fprintf(file, "retained %d\n", standin::retained());
    for (const auto& each : s.violations) std::fprintf(file, "%s\n", each.c_str());
    std::fclose(file);
}

CALL(cuGetErrorString, CUresult error, const char** text) {
    *text = text_of(error);
    return CUDA_SUCCESS;
}

CALL(cuGetErrorName, CUresult error, const char** text) {
    static thread_local std::string name;
    name = "CUDA_ERROR_" + std::to_string(static_cast<int>(error));
    *text = name.c_str();
    return CUDA_SUCCESS;
}

extern "C" void* standin_lookup(const char* name);  // generated

CALL(cuGetProcAddress, const char* name, void** found, int, cuuint64_t, CUdriverProcAddressQueryResult* status) {
    *found = standin_lookup(name);
    if (status != nullptr)
        *status = *found != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *found != nullptr || status != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CALL(cuGetExportTable, const void**, const CUuuid*) { return CUDA_ERROR_NOT_FOUND; }  // NVIDIA's private tables

// For what runs on the driver without calling it: an error unless a context is current.
EXPORT int standin_check_current(const char* name) { return standin::need_context(name); }
