// Sums over ranks in shared memory, as TensorFlow operations; `ring.h` has the memory itself.
//
// LeptonRingSum: every rank writes its scaled tensors, waits for all, and adds the slots up in rank order, so every rank
// computes the same bits. Where a run has several hosts the sum takes three steps: LeptonRingReduce gives rank 0 of each
// host, its leader, the sum of that host; the leaders' sums are added up over the network by others; LeptonRingPublish
// gives what came out to all ranks of the host.
//
// The driver, or a rank that has lost a peer, sets `aborted`; every waiting rank then fails.

#include "ring.h"

#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

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
    const Inside inside;
    const int count = context->num_inputs() - 1;
    const float scale = context->input(count).scalar<float>()();
    OP_REQUIRES(context, ring.base != nullptr, absl::FailedPreconditionError(kNotInRing));
    if (ring.size == 1 && scale == 1.0f) {
      for (int i = 0; i < count; ++i) context->set_output(i, context->input(i));
      return;
    }
    std::vector<Part> parts = Row(context, 0, count);
    OP_REQUIRES_OK(context, Allocate(context, 0, &parts));
    const bool complete = EachPiece(Elements(parts), [&](uint64_t piece, int64_t start, int64_t stop) {
      // Each rank has waited for all at the piece before.
      Contribute(ring.slot(piece, ring.rank), parts, scale, scaled_, start, stop);
      Announce(piece);
      if (!WaitForAll(piece + 1)) return false;
      EachWithin(parts, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
        Collect(parts[i].sum + from, piece, place, elements);
      });
      return true;
    });
    OP_REQUIRES(context, complete, absl::AbortedError(kLeft));
  }

 private:
  int scaled_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("LeptonRingSum").Device(tensorflow::DEVICE_CPU), RingSum);

// The sum over the ranks of a host, in two rows: the last `rounded` tensors are in the second. Rank 0 alone gets it where
// other hosts take part (`leads`), the other ranks get empty rows and do not wait; else every rank gets it.
REGISTER_OP("LeptonRingReduce")
    .Input("tensors: N * float")
    .Input("scale: float")
    .Output("exact: float")
    .Output("other: float")
    .Output("leads: bool")
    .Attr("N: int >= 1")
    .Attr("scaled: int >= 0")
    .Attr("rounded: int >= 0")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->UnknownShapeOfRank(1));
      context->set_output(1, context->UnknownShapeOfRank(1));
      context->set_output(2, context->Scalar());
      return absl::OkStatus();
    });

class RingReduce : public tensorflow::OpKernel {
 public:
  explicit RingReduce(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scaled", &scaled_));
    OP_REQUIRES_OK(context, context->GetAttr("rounded", &rounded_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    const Inside inside;
    const int count = context->num_inputs() - 1;
    const float scale = context->input(count).scalar<float>()();
    OP_REQUIRES(context, ring.base != nullptr, absl::FailedPreconditionError(kNotInRing));
    const std::vector<Part> parts = Row(context, 0, count);
    const int64_t elements = Elements(parts);
    const int64_t exact = rounded_ < count ? Elements({parts.begin(), parts.end() - rounded_}) : 0;
    const bool leads = ring.across && ring.rank == 0, collects = leads || !ring.across;
    tensorflow::Tensor *first, *second, *leading;
    OP_REQUIRES_OK(context, context->allocate_output(0, {collects ? exact : 0}, &first));
    OP_REQUIRES_OK(context, context->allocate_output(1, {collects ? elements - exact : 0}, &second));
    OP_REQUIRES_OK(context, context->allocate_output(2, {}, &leading));
    leading->scalar<bool>()() = leads;
    const std::vector<Part> rows = {{nullptr, first->flat<float>().data(), 0, exact},
                                    {nullptr, second->flat<float>().data(), exact, elements - exact}};
    const bool complete = EachPiece(elements, [&](uint64_t piece, int64_t start, int64_t stop) {
      if (ring.size == 1) {
        EachWithin(rows, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
          Contribute(rows[i].sum + from, parts, scale, scaled_, start + place, start + place + elements);
        });
        return true;
      }
      if (!WaitForAll(piece)) return false;
      Contribute(ring.slot(piece, ring.rank), parts, scale, scaled_, start, stop);
      Announce(piece);
      if (!collects) return true;
      if (!WaitForAll(piece + 1)) return false;
      EachWithin(rows, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
        Collect(rows[i].sum + from, piece, place, elements);
      });
      return true;
    });
    OP_REQUIRES(context, complete, absl::AbortedError(kLeft));
    if (leads) ring.reduced = std::chrono::steady_clock::now();
  }

 private:
  int scaled_ = 0, rounded_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("LeptonRingReduce").Device(tensorflow::DEVICE_CPU), RingReduce);

// Rank 0's two rows for every rank of the host, cut into tensors of the shapes of `like`. Where the ranks have the rows
// already, since no other host takes part, nothing is sent, unless `always`.
REGISTER_OP("LeptonRingPublish")
    .Input("exact: float")
    .Input("other: float")
    .Input("like: N * float")
    .Output("tensors: N * float")
    .Attr("N: int >= 1")
    .Attr("always: bool = false")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      for (int i = 2; i < context->num_inputs(); ++i) context->set_output(i - 2, context->input(i));
      return absl::OkStatus();
    });

class RingPublish : public tensorflow::OpKernel {
 public:
  explicit RingPublish(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("always", &always_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    Inside inside;
    OP_REQUIRES(context, ring.base != nullptr, absl::FailedPreconditionError(kNotInRing));
    if (ring.reduced.time_since_epoch().count() != 0) inside.since = ring.reduced;  // the other hosts' part
    ring.reduced = {};
    const bool sends = ring.size > 1 && (ring.across || always_);
    const bool has = ring.rank == 0 || !sends;
    std::vector<Part> parts = Row(context, 2, context->num_inputs() - 2);
    const tensorflow::Tensor &first = context->input(0), &second = context->input(1);
    const int64_t elements = Elements(parts), exact = first.NumElements();
    OP_REQUIRES(context, !has || exact + second.NumElements() == elements,
                absl::InvalidArgumentError("LeptonRing: what is published has another size than asked for"));
    OP_REQUIRES_OK(context, Allocate(context, 2, &parts));
    const std::vector<Part> rows = {{first.flat<float>().data(), nullptr, 0, exact},
                                    {second.flat<float>().data(), nullptr, exact, second.NumElements()}};
    if (!sends) {
      EachWithin(parts, 0, elements, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
        Contribute(parts[i].sum + from, rows, 1.0f, 0, place, place + elements);
      });
      return;
    }
    const bool complete = EachPiece(elements, [&](uint64_t piece, int64_t start, int64_t stop) {
      float* slot = ring.slot(piece, 0);
      if (has) {
        if (!WaitForAll(piece)) return false;
        Contribute(slot, rows, 1.0f, 0, start, stop);
      }
      Announce(piece);
      if (!WaitFor(piece + 1, 1)) return false;
      EachWithin(parts, start, stop, [&](size_t i, int64_t from, int64_t place, int64_t elements) {
        std::memcpy(parts[i].sum + from, slot + place, elements * sizeof(float));
      });
      return true;
    });
    OP_REQUIRES(context, complete, absl::AbortedError(kLeft));
  }

 private:
  bool always_ = false;
};

REGISTER_KERNEL_BUILDER(Name("LeptonRingPublish").Device(tensorflow::DEVICE_CPU), RingPublish);

// Gives a variable the bytes of its value that lie in a file from a place on. It keeps its own memory, since memory that was
// not used before has to be found page by page; only where somebody else still holds its value it gets other memory. Nothing
// is written where it has these bytes already.
REGISTER_OP("LeptonTake")
    .Input("variable: resource")
    .Input("descriptor: int32")
    .Input("place: int64")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) { return absl::OkStatus(); });

class Take : public tensorflow::OpKernel {
 public:
  explicit Take(tensorflow::OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(tensorflow::OpKernelContext* context) override {
    const int descriptor = context->input(1).scalar<int32_t>()();
    const int64_t place = context->input(2).scalar<int64_t>()();
    tensorflow::core::RefCountPtr<tensorflow::Var> variable;
    OP_REQUIRES_OK(context, tensorflow::LookupResource(context, tensorflow::HandleFromInput(context, 0), &variable));
    tensorflow::mutex_lock lock(*variable->mu());
    tensorflow::Tensor* value = variable->tensor();
    OP_REQUIRES(context, tensorflow::DataTypeCanUseMemcpy(value->dtype()),
                absl::InvalidArgumentError("LeptonTake: a variable of this type is no row of bytes"));
    const int64_t bytes = value->TotalBytes();
    std::vector<char> piece(std::min(bytes, kComparedBytes));
    int64_t same = 0;
    while (same < bytes) {
      const int64_t length = std::min(bytes - same, kComparedBytes);
      OP_REQUIRES(context, Read(descriptor, piece.data(), length, place + same), absl::DataLossError(kShort));
      if (std::memcmp(piece.data(), static_cast<char*>(value->data()) + same, length) != 0) break;
      same += length;
    }
    if (same == bytes) return;
    if (!value->RefCountIsOne()) {
      tensorflow::Tensor other;
      OP_REQUIRES_OK(context, context->allocate_temp(value->dtype(), value->shape(), &other));
      std::memcpy(other.data(), value->data(), same);
      *value = other;
    }
    char* target = static_cast<char*>(value->data());
    OP_REQUIRES(context, Read(descriptor, target + same, bytes - same, place + same), absl::DataLossError(kShort));
  }

 private:
  static constexpr int64_t kComparedBytes = 256 << 10;
  static constexpr char kShort[] = "LeptonTake: the file has fewer bytes than the variable";

  static bool Read(int descriptor, char* target, int64_t bytes, int64_t place) {
    while (bytes > 0) {
      const ssize_t read = pread(descriptor, target, bytes, place);
      if (read < 0 && errno == EINTR) continue;
      if (read <= 0) return false;
      target += read, place += read, bytes -= read;
    }
    return true;
  }
};

REGISTER_KERNEL_BUILDER(Name("LeptonTake").Device(tensorflow::DEVICE_CPU), Take);
