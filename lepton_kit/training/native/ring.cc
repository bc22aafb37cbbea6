// Allreduce over shared memory for the ranks of one host, as a TensorFlow operation.
//
// One anonymous segment per generation holds a header and, for each of two parities, one slot per rank. Call c of a
// rank copies its scaled tensors into slot (c mod 2, rank), announces its arrival, waits until every rank has arrived,
// and adds the slots up in rank order, so every rank computes the same bits. Two parities suffice: a rank that
// reaches call c + 2 has seen every other rank arrive at c + 1, hence finish reading c.
//
// The driver maps the same segment and sets `aborted` when a worker dies; every waiting rank then fails at once.

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

constexpr int kMaxRanks = 256;
constexpr size_t kPage = 4096;
constexpr int kSpins = 2000;                  // about 50 microseconds before a rank goes to sleep
constexpr long kSleepNanoseconds = 20000000;  // a sleeper looks for `aborted` at least every 20 ms

struct alignas(64) Arrival {
  std::atomic<uint64_t> calls;
};

struct Header {
  std::atomic<uint32_t> aborted;  // offset 0: the driver writes it
  std::atomic<uint32_t> bell;     // changes with every arrival; sleepers wait on it
  std::atomic<uint32_t> sleepers;
  Arrival arrivals[kMaxRanks];
};

constexpr size_t kHeaderBytes = (sizeof(Header) + kPage - 1) / kPage * kPage;

struct Ring {
  char* base = nullptr;
  size_t bytes = 0;
  size_t slot_bytes = 0;
  int rank = 0;
  int size = 1;
  uint64_t calls = 0;
  std::atomic<int64_t> waited_nanoseconds{0};

  Header* header() { return reinterpret_cast<Header*>(base); }
  float* slot(uint64_t call, int rank_of_slot) {
    return reinterpret_cast<float*>(base + kHeaderBytes + ((call & 1) * size + rank_of_slot) * slot_bytes);
  }
};

Ring ring;

size_t RoundUp(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

long Futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout = nullptr) {
  return syscall(SYS_futex, word, operation, value, timeout, nullptr, 0);
}

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The loops over the tensors, compiled for several instruction sets where the compiler can choose at load time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define LEPTON_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LEPTON_CLONES
#endif

LEPTON_CLONES void Scale(float* __restrict target, const float* __restrict source, float factor, int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) target[k] = source[k] * factor;
}

LEPTON_CLONES void Sum(float* __restrict sum, const float* __restrict first, const float* __restrict second,
                       int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) sum[k] = first[k] + second[k];
}

LEPTON_CLONES void Accumulate(float* __restrict sum, const float* __restrict next, int64_t elements) {
  for (int64_t k = 0; k < elements; ++k) sum[k] += next[k];
}

bool AllArrived(uint64_t calls) {
  for (int r = 0; r < ring.size; ++r) {
    if (ring.header()->arrivals[r].calls.load(std::memory_order_acquire) < calls) return false;
  }
  return true;
}

// True when every rank has made this many calls, false when the ring was aborted.
bool WaitForAll(uint64_t calls) {
  const auto start = std::chrono::steady_clock::now();
  bool complete = false;
  for (int spin = 0;; ++spin) {
    if (ring.header()->aborted.load(std::memory_order_acquire)) break;
    const uint32_t bell = ring.header()->bell.load();
    complete = AllArrived(calls);
    if (complete) break;
    if (spin < kSpins) {
      Relax();
      continue;
    }
    ring.header()->sleepers.fetch_add(1);
    const timespec timeout{0, kSleepNanoseconds};
    Futex(&ring.header()->bell, FUTEX_WAIT, bell, &timeout);
    ring.header()->sleepers.fetch_sub(1);
  }
  ring.waited_nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
  return complete;
}

}  // namespace

extern "C" {

// Bytes of a segment for `size` ranks whose tensors together take `slot_bytes`.
size_t lepton_ring_bytes(int size, size_t slot_bytes) { return kHeaderBytes + 2 * size * RoundUp(slot_bytes); }

// Joins the ring in the segment behind a file descriptor; 0, or -1 when it can't be mapped.
int lepton_ring_open(int descriptor, int rank, int size, size_t slot_bytes) {
  if (ring.base != nullptr || size < 1 || size > kMaxRanks || rank < 0 || rank >= size) return -1;
  const size_t bytes = lepton_ring_bytes(size, slot_bytes);
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (base == MAP_FAILED) return -1;
  ring.base = static_cast<char*>(base);
  ring.bytes = bytes;
  ring.slot_bytes = RoundUp(slot_bytes);
  ring.rank = rank;
  ring.size = size;
  ring.calls = 0;
  return 0;
}

void lepton_ring_close() {
  if (ring.base != nullptr) munmap(ring.base, ring.bytes);
  ring.base = nullptr;
}

// Nanoseconds that this process has spent waiting for others since it started.
int64_t lepton_ring_waited() { return ring.waited_nanoseconds.load(); }
}

REGISTER_OP("LeptonRingSum")
    .Input("tensors: N * float")
    .Input("scale: float")
    .Output("sums: N * float")
    .Attr("N: int >= 1")
    .Attr("scaled: int >= 0")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      for (int i = 0; i + 1 < context->num_inputs(); ++i) context->set_output(i, context->input(i));
      return absl::OkStatus();
    });

class RingSum : public tensorflow::OpKernel {
 public:
  explicit RingSum(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scaled", &scaled_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    const int count = context->num_inputs() - 1;
    OP_REQUIRES(context, ring.base != nullptr, absl::FailedPreconditionError("LeptonRing: not in a ring"));
    size_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += context->input(i).NumElements() * sizeof(float);
    OP_REQUIRES(context, bytes <= ring.slot_bytes,
                absl::InvalidArgumentError("LeptonRing: the tensors are larger than the ring's slots"));

    if (ring.size == 1 && context->input(count).scalar<float>()() == 1.0f) {
      for (int i = 0; i < count; ++i) context->set_output(i, context->input(i));
      return;
    }
    const uint64_t call = ring.calls++;
    Contribute(context, count, call);
    Header* header = ring.header();
    header->arrivals[ring.rank].calls.store(call + 1, std::memory_order_release);
    header->bell.fetch_add(1);
    if (header->sleepers.load() > 0) Futex(&header->bell, FUTEX_WAKE, INT_MAX);
    OP_REQUIRES(context, WaitForAll(call + 1), absl::AbortedError("LeptonRing: a rank has left"));
    Collect(context, count, call);
  }

 private:
  // The first `scaled_` tensors are multiplied by the scale; the others count as they are.
  void Contribute(tensorflow::OpKernelContext* context, int count, uint64_t call) {
    const float scale = context->input(count).scalar<float>()();
    float* target = ring.slot(call, ring.rank);
    for (int i = 0; i < count; ++i) {
      const float* source = context->input(i).flat<float>().data();
      const int64_t elements = context->input(i).NumElements();
      // A rank without samples has scale 0; its values may be NaN, so they are not multiplied but left out.
      if (scale == 0.0f) {
        std::memset(target, 0, elements * sizeof(float));
      } else if (i >= scaled_) {
        std::memcpy(target, source, elements * sizeof(float));
      } else {
        Scale(target, source, scale, elements);
      }
      target += elements;
    }
  }

  static void Collect(tensorflow::OpKernelContext* context, int count, uint64_t call) {
    size_t offset = 0;
    for (int i = 0; i < count; ++i) {
      tensorflow::Tensor* output = nullptr;
      OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({i}, i, context->input(i).shape(), &output));
      float* sum = output->flat<float>().data();
      const int64_t elements = output->NumElements();
      const float* first = ring.slot(call, 0) + offset;
      if (ring.size == 1) {
        std::memcpy(sum, first, elements * sizeof(float));
      } else {
        Sum(sum, first, ring.slot(call, 1) + offset, elements);
      }
      for (int r = 2; r < ring.size; ++r) Accumulate(sum, ring.slot(call, r) + offset, elements);
      offset += elements;
    }
  }

  int scaled_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("LeptonRingSum").Device(tensorflow::DEVICE_CPU), RingSum);
