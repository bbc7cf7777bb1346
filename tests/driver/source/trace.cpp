// A record of the work of all streams, in the order in which it ran: for tests of what overlaps.
#include "standin.hpp"

namespace {

struct Record {
    const char* kind;
    long stream, start_ns, end_ns, bytes;
};

struct Trace {
    std::mutex mutex;
    bool on = false;
    std::vector<Record> records;
};

Trace& trace() {
    static auto* it = new Trace;
    return *it;
}

long now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(standin::Clock::now().time_since_epoch()).count();
}

}  // namespace

void standin::run_traced(const Work& work, int stream) {
    Trace& t = trace();
    const long start = now_ns();
    work.run();
    if (work.kind == nullptr) return;  // an event
    std::lock_guard lock(t.mutex);
    if (t.on) t.records.push_back({work.kind, stream, start, now_ns(), static_cast<long>(work.bytes)});
}

// Forgets what was recorded, and records from now on or not.
EXPORT void standin_trace(int on) {
    std::lock_guard lock(trace().mutex);
    trace().records.clear();
    trace().on = on != 0;
}

// Lines of "stream start_ns end_ns bytes kind"; valid until the next call of this function on this thread.
EXPORT const char* standin_traced() {
    static thread_local std::string text;
    text.clear();
    std::lock_guard lock(trace().mutex);
    for (const auto& each : trace().records)
        text += std::to_string(each.stream) + " " + std::to_string(each.start_ns) + " " + std::to_string(each.end_ns) +
                " " + std::to_string(each.bytes) + " " + each.kind + "\n";
    return text.c_str();
}
