// Graphs and events: what a capture gives, what runs it again, and what orders streams.
#include <set>

#include "standin.hpp"

namespace {

// Handles that are alive: any other one is refused and noticed, where the driver would crash.
template <class T>
struct Registry {
    std::mutex mutex;
    std::set<T*> all;

    T* add(T* made) {
        std::lock_guard lock(mutex);
        all.insert(made);
        return made;
    }
    bool has(T* handle) {
        std::lock_guard lock(mutex);
        return all.count(handle) != 0;
    }
    bool remove(T* handle) {
        std::lock_guard lock(mutex);
        return all.erase(handle) != 0;
    }
    size_t size() {
        std::lock_guard lock(mutex);
        return all.size();
    }
};

template <class T>
Registry<T>& registry() {
    static auto* it = new Registry<T>;
    return *it;
}

std::atomic<long> launched{0}, made{0};

CUresult unknown(const char* name) {
    standin::violation(std::string(name) + " of a handle that is none");
    return CUDA_ERROR_INVALID_HANDLE;
}

template <class T>
CUresult destroy(const char* name, T* handle) {
    CUresult fault = standin::enter(name);
    if (CUresult missing = standin::need_context(name); missing) return missing;
    if (!registry<T>().remove(handle)) return unknown(name);
    delete handle;
    return fault;
}

CUresult create_event(CUevent* event, unsigned flags) {
    *event = registry<CUevent_st>().add(new CUevent_st);
    (*event)->flags = flags;
    return CUDA_SUCCESS;
}

CUresult record(const char* name, CUevent event, CUstream handle) {
    if (!registry<CUevent_st>().has(event)) return unknown(name);
    CUstream stream = nullptr;
    if (CUresult fault = standin::find_stream(handle, &stream, name); fault) return fault;
    auto moment = std::make_shared<standin::Moment>();
    {
        std::lock_guard lock(event->mutex);
        event->last = moment;
        event->captured = stream->capture != nullptr;
    }
    return standin::submit(handle, {nullptr, [moment] { moment->reach(); }});
}

}  // namespace

namespace standin {

CUgraph adopt(std::unique_ptr<CUgraph_st> graph) { return registry<CUgraph_st>().add(graph.release()); }

Alive alive() {
    return {registry<CUgraph_st>().size(), registry<CUgraphExec_st>().size(), registry<CUevent_st>().size()};
}

long launches() { return launched; }
long instantiated() { return made; }

}  // namespace standin

CALL(cuGraphInstantiateWithFlags, CUgraphExec* instance, CUgraph graph, unsigned long long) {
    ENTER_CURRENT
    if (!registry<CUgraph_st>().has(graph)) return unknown(__func__);
    if (graph->work.empty()) standin::violation("an empty graph was instantiated");
    *instance = registry<CUgraphExec_st>().add(new CUgraphExec_st{graph->work});
    ++made;
    return CUDA_SUCCESS;
}

CALL(cuGraphDestroy, CUgraph graph) { return destroy(__func__, graph); }

CALL(cuGraphExecDestroy, CUgraphExec instance) { return destroy(__func__, instance); }

CALL(cuGraphUpload, CUgraphExec instance, CUstream) {
    ENTER_CURRENT
    return registry<CUgraphExec_st>().has(instance) ? CUDA_SUCCESS : unknown(__func__);
}

CALL(cuGraphLaunch, CUgraphExec instance, CUstream stream) {
    ENTER_CURRENT
    if (!registry<CUgraphExec_st>().has(instance)) return unknown(__func__);
    ++launched;
    auto run = [work = instance->work] {
        for (const auto& each : work) each.run();
    };
    return standin::submit(stream, {"graph", run});
}

CALL(cuLaunchHostFunc, CUstream stream, CUhostFn function, void* data) {
    ENTER_CURRENT
    return standin::submit(stream, {"host function", [=] { function(data); }});
}

CALL(cuEventCreate, CUevent* event, unsigned flags) {
    ENTER_CURRENT
    return create_event(event, flags);
}

CALL(cuEventDestroy, CUevent event) { return destroy(__func__, event); }

CALL(cuEventRecord, CUevent event, CUstream stream) {
    ENTER_CURRENT
    return record(__func__, event, stream);
}

CALL(cuEventRecordWithFlags, CUevent event, CUstream stream, unsigned) {
    ENTER_CURRENT
    return record(__func__, event, stream);
}

CALL(cuStreamWaitEvent, CUstream handle, CUevent event, unsigned) {
    ENTER_CURRENT
    if (!registry<CUevent_st>().has(event)) return unknown(__func__);
    CUstream stream = nullptr;
    if (CUresult fault = standin::find_stream(handle, &stream, __func__); fault) return fault;
    standin::MomentPtr moment;
    bool captured;
    {
        std::lock_guard lock(event->mutex);
        moment = event->last;
        captured = event->captured;
    }
    if (moment == nullptr) return CUDA_SUCCESS;  // never recorded: nothing to wait for
    if (captured != (stream->capture != nullptr)) {
        standin::violation("a dependency crosses the border of a capture");
        stream->invalid = stream->capture != nullptr;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (captured) return CUDA_SUCCESS;  // the graph's work is in one order as it is
    return standin::submit(handle, {nullptr, [moment] { moment->wait(); }});
}

CALL(cuEventSynchronize, CUevent event) {
    ENTER_UNSAFE
    if (!registry<CUevent_st>().has(event)) return unknown(__func__);
    standin::MomentPtr moment;
    {
        std::lock_guard lock(event->mutex);
        if (event->captured) return CUDA_ERROR_CAPTURED_EVENT;
        moment = event->last;
    }
    if (moment != nullptr) moment->wait();
    return CUDA_SUCCESS;
}

CALL(cuEventQuery, CUevent event) {
    ENTER_CURRENT
    if (!registry<CUevent_st>().has(event)) return unknown(__func__);
    std::lock_guard lock(event->mutex);
    if (event->captured) return CUDA_ERROR_CAPTURED_EVENT;
    return event->last == nullptr || event->last->reached() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CALL(cuEventElapsedTime, float* ms, CUevent start, CUevent end) {
    ENTER_CURRENT
    for (CUevent each : {start, end}) {
        if (!registry<CUevent_st>().has(each)) return unknown(__func__);
        if (each->flags & CU_EVENT_DISABLE_TIMING || each->last == nullptr) return CUDA_ERROR_INVALID_HANDLE;
        if (!each->last->reached()) return CUDA_ERROR_NOT_READY;
    }
    *ms = std::chrono::duration<float, std::milli>(end->last->time() - start->last->time()).count();
    return CUDA_SUCCESS;
}
