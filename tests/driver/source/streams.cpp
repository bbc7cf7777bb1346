// Streams: a thread with a queue each; the default stream's rule of order; capture with its rules for threads.
#include <algorithm>

#include "standin.hpp"

namespace {

struct Streams {
    std::mutex mutex;
    std::vector<CUstream> all;            // without the default stream
    std::vector<CUstream> destroyed;      // their work may still run; never deleted, as others may wait for them
    CUstream legacy = nullptr;            // the default stream
    standin::MomentPtr legacy_last;       // the end of the default stream's last work
};

Streams& streams() {
    static auto* it = new Streams;
    return *it;
}

std::atomic<int> numbers{0};
thread_local std::vector<CUstream> captures;  // of this thread, those that forbid unsafe calls

CUstream legacy_stream() {
    Streams& s = streams();
    std::lock_guard lock(s.mutex);
    if (s.legacy == nullptr) s.legacy = new CUstream_st(0);
    return s.legacy;
}

standin::Work reaching(const standin::MomentPtr& moment) {
    return {nullptr, [moment] { moment->reach(); }};
}

standin::Work waiting(const standin::MomentPtr& moment) {
    return {nullptr, [moment] { moment->wait(); }};
}

// The default stream waits for all blocking streams, and they wait for it.
CUresult submit_legacy(CUstream legacy, standin::Work work) {
    std::vector<CUstream> others;
    for (CUstream each : standin::all_streams()) {
        if (!each->blocking()) continue;
        if (each->capture != nullptr) {
            standin::violation("the default stream was used while a stream that waits for it captured");
            each->invalid = true;
            return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
        others.push_back(each);
    }
    for (CUstream each : others) {
        auto moment = std::make_shared<standin::Moment>();
        each->push(reaching(moment));
        legacy->push(waiting(moment));
    }
    auto end = std::make_shared<standin::Moment>();
    legacy->push(std::move(work));
    legacy->push(reaching(end));
    std::lock_guard lock(streams().mutex);
    streams().legacy_last = end;
    return CUDA_SUCCESS;
}

}  // namespace

namespace standin {

void Moment::reach() {
    std::lock_guard lock(mutex_);
    reached_ = true;
    time_ = Clock::now();
    changed_.notify_all();
}

void Moment::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reached_; });
}

bool Moment::reached() {
    std::lock_guard lock(mutex_);
    return reached_;
}

Clock::time_point Moment::time() {
    std::lock_guard lock(mutex_);
    return time_;
}

std::vector<CUstream> all_streams() {
    std::lock_guard lock(streams().mutex);
    return streams().all;
}

size_t live_streams() { return all_streams().size(); }

void drain_all() {
    std::vector<CUstream> gone;
    {
        std::lock_guard lock(streams().mutex);
        gone.swap(streams().destroyed);
    }
    for (CUstream each : gone) each->drain();
    for (CUstream each : all_streams()) each->drain();
    legacy_stream()->drain();
}

bool this_thread_captures() { return !captures.empty(); }

void invalidate_captures_of_this_thread() {
    for (CUstream each : captures) each->invalid = true;
}

CUresult find_stream(CUstream handle, CUstream* found, const char* name) {
    if (reinterpret_cast<uintptr_t>(handle) <= 2) {  // 0, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD
        *found = legacy_stream();
        return CUDA_SUCCESS;
    }
    std::lock_guard lock(streams().mutex);
    auto& all = streams().all;
    if (std::find(all.begin(), all.end(), handle) == all.end()) {
        violation(std::string(name) + " on a stream that is none");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *found = handle;
    return CUDA_SUCCESS;
}

CUresult submit(CUstream handle, Work work) {
    CUstream stream = nullptr;
    if (CUresult fault = find_stream(handle, &stream, work.kind); fault) return fault;
    if (stream->capture != nullptr) {
        if (stream->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        stream->capture->work.push_back(std::move(work));
        return CUDA_SUCCESS;
    }
    if (stream == legacy_stream()) return submit_legacy(stream, std::move(work));
    if (stream->blocking()) {
        std::lock_guard lock(streams().mutex);
        if (streams().legacy_last != nullptr) stream->push(waiting(streams().legacy_last));
    }
    stream->push(std::move(work));
    return CUDA_SUCCESS;
}

}  // namespace standin

CUstream_st::CUstream_st(unsigned flags) : flags(flags), number(numbers++) {
    std::thread([this] { loop(); }).detach();
}

void CUstream_st::loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
        arrived_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
        if (queue_.empty()) break;
        standin::Work work = std::move(queue_.front());
        queue_.pop_front();
        busy_ = true;
        lock.unlock();
        standin::run_traced(work, number);
        lock.lock();
        busy_ = false;
        done_.notify_all();
    }
}

void CUstream_st::push(standin::Work work) {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    arrived_.notify_one();
}

void CUstream_st::drain() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool CUstream_st::idle() {
    std::lock_guard lock(mutex_);
    return queue_.empty() && !busy_;
}

void CUstream_st::stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    arrived_.notify_one();
}

CALL(cuStreamCreate, CUstream* stream, unsigned flags) {
    ENTER_CURRENT
    *stream = new CUstream_st(flags);
    std::lock_guard lock(streams().mutex);
    streams().all.push_back(*stream);
    return CUDA_SUCCESS;
}

CALL(cuStreamCreateWithPriority, CUstream* stream, unsigned flags, int) {
    ENTER_CURRENT
    *stream = new CUstream_st(flags);
    std::lock_guard lock(streams().mutex);
    streams().all.push_back(*stream);
    return CUDA_SUCCESS;
}

CALL(cuStreamDestroy, CUstream handle) {
    CUresult fault = standin::enter(__func__);
    if (CUresult missing = standin::need_context(__func__); missing) return missing;
    CUstream stream = nullptr;
    if (CUresult unknown = standin::find_stream(handle, &stream, __func__); unknown) return unknown;
    if (stream->capture != nullptr) standin::violation("a stream was destroyed while it captured");
    {
        std::lock_guard lock(streams().mutex);
        auto& all = streams().all;
        all.erase(std::find(all.begin(), all.end(), stream));
        streams().destroyed.push_back(stream);
    }
    stream->stop();  // its work still runs to the end
    return fault;
}

CALL(cuStreamSynchronize, CUstream handle) {
    ENTER_UNSAFE
    CUstream stream = nullptr;
    if (CUresult unknown = standin::find_stream(handle, &stream, __func__); unknown) return unknown;
    if (stream->capture != nullptr) {
        standin::violation("a stream was waited for while it captured");
        stream->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    stream->drain();
    return CUDA_SUCCESS;
}

CALL(cuStreamQuery, CUstream handle) {
    ENTER_CURRENT
    CUstream stream = nullptr;
    if (CUresult unknown = standin::find_stream(handle, &stream, __func__); unknown) return unknown;
    return stream->idle() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CALL(cuStreamIsCapturing, CUstream handle, CUstreamCaptureStatus* status) {
    ENTER_CURRENT
    CUstream stream = nullptr;
    if (CUresult unknown = standin::find_stream(handle, &stream, __func__); unknown) return unknown;
    *status = stream->capture == nullptr ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->invalid          ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                         : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

CALL(cuStreamBeginCapture, CUstream handle, CUstreamCaptureMode mode) {
    ENTER_CURRENT
    CUstream stream = nullptr;
    if (CUresult unknown = standin::find_stream(handle, &stream, __func__); unknown) return unknown;
    if (stream == legacy_stream()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
    if (mode == CU_STREAM_CAPTURE_MODE_GLOBAL)
        standin::violation("a capture in global mode, which makes calls of other threads fail");
    stream->capture = std::make_unique<CUgraph_st>();
    stream->mode = mode;
    stream->invalid = false;
    stream->capturer = std::this_thread::get_id();
    if (mode != CU_STREAM_CAPTURE_MODE_RELAXED) captures.push_back(stream);
    return CUDA_SUCCESS;
}

namespace standin {
CUgraph adopt(std::unique_ptr<CUgraph_st> graph);  // graphs.cpp
}

CALL(cuStreamEndCapture, CUstream handle, CUgraph* graph) {
    CUresult fault = standin::enter(__func__);  // a capture that failed is over, too
    if (CUresult missing = standin::need_context(__func__); missing) return missing;
    CUstream stream = nullptr;
    if (CUresult unknown = standin::find_stream(handle, &stream, __func__); unknown) return unknown;
    if (stream->capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
    if (stream->mode != CU_STREAM_CAPTURE_MODE_RELAXED && stream->capturer != std::this_thread::get_id())
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    std::erase(captures, stream);
    auto captured = std::move(stream->capture);
    *graph = nullptr;
    if (fault) return fault;
    if (stream->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *graph = standin::adopt(std::move(captured));
    return CUDA_SUCCESS;
}
