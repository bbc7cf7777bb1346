/* wrn_runner.h: runs a bundle of wrn-deploy from C or C++. C99; see docs/embedding.md.
 *
 * Every call gives a wrn_status as an int32_t. After one that is not WRN_OK, wrn_last_error() has its text, for the
 * thread that made the call. No call ends the process, throws, prints a text of ours, or changes a signal handler. All calls may be
 * made from any thread, several at once on one runner too; whoever has closed a runner gets WRN_USAGE for it.
 *
 * Strings are UTF-8. What is passed in is read before the call returns and stays the caller's.
 */
#ifndef WRN_RUNNER_H
#define WRN_RUNNER_H

#include <stddef.h>
#include <stdint.h>

/* Rises when a call or a structure changes so that programs must be compiled again; compare with wrn_abi_version(). */
#define WRN_ABI_VERSION 1

#if defined(__GNUC__)
#define WRN_API __attribute__((visibility("default")))
#else
#define WRN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* types: begin */

/* How a call ended; 1 to 4 are the exit codes of the command line. */
enum {
  WRN_OK = 0,
  WRN_ERROR = 1,   /* bad input: no bundle, a damaged or stale one, a failed inference */
  WRN_USAGE = 2,   /* a wrong argument: no such runner, a size that does not fit, an unknown precision */
  WRN_GATE = 3,    /* a check on results failed */
  WRN_MACHINE = 4, /* this machine cannot do it: no GPU, no Python environment, a missing package */
  WRN_INTERNAL = 5 /* a fault of ours */
};

/* Types of elements. */
enum { WRN_UINT8 = 1, WRN_INT32 = 2, WRN_INT64 = 3, WRN_FLOAT16 = 4, WRN_FLOAT32 = 5 };

/* What wrn_text() gives. */
enum {
  WRN_TEXT_MODEL = 1,     /* as in "wrn-16-2" */
  WRN_TEXT_BACKEND = 2,   /* what runs it, as in "onnxruntime" */
  WRN_TEXT_PRECISION = 3, /* as in "fp32" */
  WRN_TEXT_FELL_BACK = 4, /* why it is not what was named; empty where it is */
  WRN_TEXT_LABEL = 5      /* the name of class `index`; empty where the bundle has no names */
};

/* An opened bundle. Never 0, and never given twice in a process: one that was closed stays invalid. */
typedef uint64_t wrn_runner;

/* What to open a bundle with; all zeros but `size` is a good default. */
typedef struct wrn_options {
  size_t size;           /* sizeof(wrn_options), so that later versions can add fields */
  const char *backend;   /* as in "onnxruntime"; NULL: the first that is valid on this machine */
  const char *precision; /* "fp32", "fp16", "int8", ...; NULL: the backend's preferred one */
  int32_t threads;       /* CPU threads of one inference; 0: the backend's choice */
  int32_t contexts;      /* inferences at the same time; 0: one for each core, at most 4 */
  int32_t fallback;      /* not 0: takes another backend where the named one cannot run */
} wrn_options;

/* What a runner takes and gives. */
typedef struct wrn_description {
  size_t size;     /* sizeof(wrn_description), set by the caller */
  int32_t height;  /* of an image, in pixels */
  int32_t width;   /* of an image, in pixels */
  int32_t outputs; /* how many; wrn_output() describes each */
  int32_t labels;  /* how many classes have names: all or 0 */
  int64_t classes; /* of the network */
} wrn_description;

/* One input or output. Its batch comes first and is left out of the shape. */
typedef struct wrn_tensor {
  size_t size;       /* sizeof(wrn_tensor), set by the caller */
  char name[64];     /* as in "logits" */
  int32_t dtype;     /* WRN_FLOAT32, ... */
  int32_t rank;      /* how many of `shape` count */
  int64_t shape[8];  /* of one image, without the batch */
  size_t image_bytes; /* bytes for one image: a batch of N has N times as many */
} wrn_tensor;

/* A batch of images, C-contiguous; in host memory or on the device, as the call says. */
typedef struct wrn_images {
  const void *data;
  size_t bytes;  /* of all images; must be count times wrn_tensor.image_bytes of wrn_input() */
  int64_t count; /* at least 1; larger than the engine's largest batch is split */
  int32_t dtype; /* WRN_UINT8: RGB pixels, (count, height, width, 3). WRN_FLOAT32: normalised, as wrn_input() says. */
} wrn_images;

/* Memory for one output. It must not overlap the images. */
typedef struct wrn_buffer {
  void *data;
  size_t bytes; /* at least count times wrn_tensor.image_bytes of wrn_output(); no more than that is written */
} wrn_buffer;

/* types: end */

/* The WRN_ABI_VERSION that the library was built with. */
WRN_API int32_t wrn_abi_version(void);

/* The version of wrn-deploy that built the library, as in "0.1.0". */
WRN_API const char *wrn_version(void);

/* The text of this thread's last call: what was wrong, what was expected, what to do; "" after WRN_OK.
 * It stays valid until the thread's next call. Never NULL. */
WRN_API const char *wrn_last_error(void);

/* Opens the bundle in the folder `bundle`. The first call of a process starts Python (some tenths of a second).
 * options: NULL for the defaults.  runner: 0 where it fails.
 * WRN_ERROR: no bundle, or it lacks what was named, or is stale or damaged.  WRN_USAGE: an unknown precision, ...
 * WRN_MACHINE: nothing here can run it, or the Python environment that the library was built with is gone. */
WRN_API int32_t wrn_open(const char *bundle, const wrn_options *options, wrn_runner *runner);

/* Waits for the calls that are running on it, then gives its memory back. WRN_USAGE: no such runner, or closed. */
WRN_API int32_t wrn_close(wrn_runner runner);

WRN_API int32_t wrn_describe(wrn_runner runner, wrn_description *description);

/* The input as it is taken in `dtype`: WRN_UINT8 (pixels) always, WRN_FLOAT32 unless the bundle takes pixels alone. */
WRN_API int32_t wrn_input(wrn_runner runner, int32_t dtype, wrn_tensor *tensor);

/* Output `index`, from 0. Output 0 is what wrn_infer() writes into a single buffer. */
WRN_API int32_t wrn_output(wrn_runner runner, int32_t index, wrn_tensor *tensor);

/* Copies a text, with its final 0, into `buffer` of `capacity` bytes. `index` is for labels alone; else pass 0.
 * needed: the bytes that it takes; may be NULL. With buffer NULL and capacity 0 it is found out only.
 * WRN_USAGE: it does not fit; nothing is copied. */
WRN_API int32_t wrn_text(wrn_runner runner, int32_t what, int64_t index, char *buffer, size_t capacity, size_t *needed);

/* Runs a batch and waits for the results. outputs: one buffer, for output 0, or one for each output, in their order;
 * n_outputs: how many. WRN_USAGE: a size does not fit; then nothing is written. */
WRN_API int32_t wrn_infer(wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, size_t n_outputs);

/* As wrn_infer(), with images and outputs in the memory of the CUDA device that the backend runs on, without a copy
 * through the host. The images are what the graph itself takes, so that nothing is left to be normalised: WRN_FLOAT32,
 * or WRN_UINT8 for a bundle that takes pixels. The work is queued on `stream` (a cudaStream_t; NULL: the default
 * stream); the memory must live until the stream has done it, and the outputs are there then.
 * WRN_ERROR: the backend takes no device memory, as on a CPU.  WRN_MACHINE: CUDA failed. */
WRN_API int32_t wrn_infer_device(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, size_t n_outputs, void *stream);

/* Runs each of `n` sizes of batches `iterations` times in each context, on blank images. No other thread may use the
 * runner meanwhile. */
WRN_API int32_t wrn_warmup(wrn_runner runner, const int64_t *batches, size_t n, int32_t iterations);

#ifdef __cplusplus
}
#endif

#endif
