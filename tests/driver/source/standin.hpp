// What the parts of the stand-in for the CUDA driver share: calls, streams, events, graphs, memory.
#pragma once
#include <cuda.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))
// A function of the driver. Its first line is one of the three below.
#define CALL(name, ...) EXPORT CUresult name(__VA_ARGS__)
// Counts the call, and ends it if a test wants it to fail.
#define ENTER                                               \
    if (CUresult fault = standin::enter(__func__); fault) { \
        return fault;                                       \
    }
// The same, for a call that needs a current context.
#define ENTER_CURRENT                                             \
    ENTER                                                         \
    if (CUresult missing = standin::need_context(__func__); missing) { \
        return missing;                                           \
    }
// The same, for a call that may wait or allocate: it is illegal while this thread captures.
#define ENTER_UNSAFE                                               \
    ENTER_CURRENT                                                  \
    if (CUresult unsafe = standin::refuse_capture(__func__); unsafe) { \
        return unsafe;                                             \
    }

namespace standin {

using Clock = std::chrono::steady_clock;

// A piece of work on a stream, and what the trace calls it.
struct Work {
    const char* kind;
    std::function<void()> run;
    size_t bytes = 0;
};

// A point in a stream's work that others can wait for.
class Moment {
public:
    void reach();
    void wait();
    bool reached();
    Clock::time_point time();

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool reached_ = false;
    Clock::time_point time_;
};

using MomentPtr = std::shared_ptr<Moment>;

}  // namespace standin

struct CUctx_st {};

struct CUevent_st {
    unsigned flags = 0;
    std::mutex mutex;
    standin::MomentPtr last;   // null: it was never recorded
    bool captured = false;     // its last record is part of a capture
};

struct CUgraph_st {
    std::vector<standin::Work> work;
};

struct CUgraphExec_st {
    std::vector<standin::Work> work;
};

// A stream: a thread with a queue. A capture collects the work instead.
struct CUstream_st {
    explicit CUstream_st(unsigned flags);
    void push(standin::Work work);
    void drain();
    bool idle();
    void stop();
    bool blocking() const { return (flags & CU_STREAM_NON_BLOCKING) == 0; }

    const unsigned flags;
    const int number;                     // in the trace, in order of creation
    std::unique_ptr<CUgraph_st> capture;  // null: not capturing
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::thread::id capturer;
    bool invalid = false;                 // the capture has failed

private:
    void loop();
    std::mutex mutex_;
    std::condition_variable arrived_, done_;
    std::deque<standin::Work> queue_;
    bool busy_ = false, stopped_ = false;
};

namespace standin {

// calls.cpp
// `of_stack`: a call on the thread's stack of contexts, which fails only if the GPU is lost.
CUresult enter(const char* name, bool of_stack = false);
CUresult need_context(const char* name);
CUresult refuse_capture(const char* name);
void violation(const std::string& text);

// contexts.cpp
CUcontext current();
CUcontext primary();
size_t context_depth();
int retained();

// streams.cpp
CUresult submit(CUstream stream, Work work);
CUresult find_stream(CUstream handle, CUstream* found, const char* name);
std::vector<CUstream> all_streams();
void drain_all();
bool this_thread_captures();
void invalidate_captures_of_this_thread();
size_t live_streams();

// graphs.cpp
struct Alive { size_t graphs, instances, events; };
Alive alive();
long launches();
long instantiated();

// memory.cpp
bool is_device(uintptr_t address, size_t bytes);
bool is_pinned(const void* address);
size_t device_blocks();
size_t pinned_blocks();
size_t device_bytes();

// inference.cpp
long inferences();
size_t live_execution_contexts();

// trace.cpp
void run_traced(const Work& work, int stream);

}  // namespace standin
