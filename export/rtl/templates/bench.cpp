// Bench of the core @NAME@ for Verilator: plain C++, no framework.
//
//   @NAME@_tb                                   the vectors of @NAME@_vectors.h, with random waits on all streams; where
//                                               several leave the core, once more with those of a frame taken one after
//                                               the other, in random order
//   @NAME@_tb --in F --out F [--seed N] [+tap]  other frames: 16-bit little-endian codes; no waits without --seed; +tap
//                                               writes the codes of every tensor to files. Further streams go to files
//                                               called F.1, F.2 and so on
//
// It fails on a wrong code, a wrong tlast or tuser, a beat that changes or disappears while it is refused, a beat nobody
// expects, a frame that never ends, and a broken frame that is not reported. Registers start with random contents, and
// frames follow each other without a gap, so nothing stale can pass for a result.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>
#include "V@NAME@.h"
#include "verilated.h"
#include "@NAME@_vectors.h"

namespace {

constexpr uint64_t kCycles = @CYCLES@;  // of one frame when neither side waits
constexpr size_t kLanes = @LANES@;     // codes in a beat of the input
constexpr size_t kLaneBits = @LANE_BITS@;
constexpr size_t kBeats = kIn / kLanes;
constexpr size_t kMost = @MOST_LANES@;  // codes in a beat of any output
constexpr bool kAnswers = @ANSWERS@;  // whether frames of a wrong length have results, which say so
constexpr uint16_t kPoison = 0xdead;
using Codes = std::vector<uint16_t>;

struct Stream {  // out of the core: codes in a beat, bits of a code, beats of a frame, what the vectors should give
  const char* port;
  size_t lanes, lane_bits, beats;
  const uint16_t* expected;
  size_t codes() const { return lanes * beats; }
};
const std::array<Stream, @STREAMS@> kStreams{{
@TABLE@
}};

// Which stream a message is about, where there are several.
std::string which(size_t k) { return kStreams.size() > 1 ? std::string(kStreams[k].port) + ": " : ""; }

enum class Waits { kNone, kRandom, kInTurn };

struct Random {
  uint64_t state;
  uint32_t next() {  // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<uint32_t>((state * 2685821657736338717ULL) >> 33);
  }
};

struct Result {
  std::array<Codes, kStreams.size()> codes;
  std::vector<uint64_t> begins;                           // clocks of each frame's first beat in
  std::array<std::vector<uint64_t>, kStreams.size()> ends;  // and of its last beat out of each stream
  uint64_t total = 0;
  std::string error;
};

// What an output shows now, and how far it is.
struct Seen {
  bool valid = false, last = false, user = false, held = false, held_last = false;
  std::array<uint16_t, kMost> lanes{}, held_lanes{};
  size_t got = 0;                          // beats of frames that count
  size_t damaged_got = 0, damaged_seen = 0;  // beats of results of frames of a wrong length, and those that say so
};

// Lanes of ports of any width: one word, or 32-bit words for those of more than 64 bits.
template <class Word>
uint16_t lane(const Word& word, size_t low, size_t bits) {
  return static_cast<uint16_t>(word >> low & ((1u << bits) - 1));
}
template <size_t N>
uint16_t lane(const VlWide<N>& words, size_t low, size_t bits) {
  return static_cast<uint16_t>(words[low / 32] >> low % 32 & ((1u << bits) - 1));
}
template <class Word>
void put(Word& word, size_t low, uint16_t code) {
  word = static_cast<Word>((low ? word : 0) | static_cast<Word>(static_cast<Word>(code) << low));
}
template <size_t N>
void put(VlWide<N>& words, size_t low, uint16_t code) {
  words[low / 32] = (low % 32 ? words[low / 32] : 0) | static_cast<uint32_t>(code) << low % 32;
}

template <class Data>
void see(Seen& seen, const Stream& stream, bool valid, bool last, bool user, const Data& data) {
  seen.valid = valid;
  seen.last = last;
  seen.user = user;
  for (size_t i = 0; i < stream.lanes; i++) seen.lanes[i] = lane(data, i * stream.lane_bits, stream.lane_bits);
}

class Bench {
 public:
  Bench(uint64_t seed, Waits waits, int argc, char** argv) : random_{seed * 2 + 1}, waits_(waits) {
    context_.commandArgs(argc, argv);
    context_.randReset(2);
    context_.randSeed(static_cast<int>(seed & 0x7fffffff) + 1);
    top_ = new V@NAME@{&context_};
    top_->clk = 0;
    top_->rst = 1;
    top_->s_axis_tvalid = 0;
    set_ready({});
    for (int i = 0; i < 4; i++) edge();
    top_->rst = 0;
    for (size_t k = 0; k < order_.size(); k++) order_[k] = k;
    shuffle();
  }
  ~Bench() {
    top_->final();
    delete top_;
  }

  // Sends frames back to back and collects as many. `broken` first sends a frame that ends too early and one that ends
  // too late, whose results must say so.
  Result run(const Codes& in, size_t frames, bool broken) {
    Result result;
    for (size_t k = 0; k < kStreams.size(); k++) result.codes[k].assign(frames * kStreams[k].codes(), kPoison);
    if (broken) {
      if ((kBeats > 1 && !send_wrong(in, kBeats - 1)) || !send_wrong(in, kBeats + 3))
        result.error = "nothing moves any more";
      else if (errors_ != damaged_)
        result.error = "a frame of a wrong length did not raise frame_error once";
      if (!result.error.empty()) return result;
    }
    size_t sent = 0;
    uint64_t idle = 0;
    bool offering = false;
    for (uint64_t after = 0; after < 64;) {
      if (!offering) offering = sent < frames * kBeats && go(3);
      top_->s_axis_tvalid = offering;
      drive(in, sent, offering, 0);
      top_->s_axis_tlast = offering ? sent % kBeats == kBeats - 1 : random_.next() & 1;
      const Flags ready = choose();
      set_ready(ready);
      top_->eval();
      look();
      const bool taken = offering && top_->s_axis_tready;
      if (taken && sent % kBeats == 0) result.begins.push_back(total_);
      bool moved = taken;
      for (size_t k = 0; k < kStreams.size(); k++) {
        if (!receive(k, ready[k], frames, result)) return result;
        moved |= seen_[k].valid && ready[k];
      }
      const size_t errors = errors_;
      edge();
      if (taken) {
        sent++;
        offering = false;
      }
      idle = moved ? 0 : idle + 1;
      if (idle > limit()) {
        result.error = "nothing moves any more";
        return result;
      }
      if (errors_ != errors && sent > 1) {
        result.error = "a whole frame raised frame_error";
        return result;
      }
      after = all(frames) ? after + 1 : 0;
    }
    for (const Seen& seen : seen_)
      if (kAnswers && seen.damaged_seen != damaged_) result.error = "a frame of a wrong length did not raise tuser once";
    result.total = total_;@CHECK@
    return result;
  }

 private:
  using Flags = std::array<bool, kStreams.size()>;
  VerilatedContext context_;
  V@NAME@* top_ = nullptr;
  Random random_;
  Waits waits_;
  uint64_t total_ = 0;
  size_t errors_ = 0;   // clocks with frame_error
  size_t damaged_ = 0;  // frames of a wrong length sent
  std::array<Seen, kStreams.size()> seen_;
  std::array<size_t, kStreams.size()> order_;  // in which the streams of a frame are taken, when in turn
  size_t turn_ = 0;

  static uint64_t limit() { return kCycles * 16 + 100000; }  // far more clocks than anything may wait

  // Whether a side moves this clock: with probability 1 - 1/n when there are waits.
  bool go(uint32_t n) { return waits_ == Waits::kNone || random_.next() % n != 0; }

  // Which outputs are taken this clock: in turn only one, until its frame is whole.
  Flags choose() {
    Flags ready{};
    for (size_t k = 0; k < kStreams.size(); k++) ready[k] = go(4) && (waits_ != Waits::kInTurn || order_[turn_] == k);
    return ready;
  }

  void shuffle() {
    for (size_t k = order_.size(); k > 1; k--) std::swap(order_[k - 1], order_[random_.next() % k]);
  }

  void next_turn() {
    if (++turn_ < order_.size()) return;
    turn_ = 0;
    shuffle();
  }

@MEMBERS@  void set_ready(const Flags& ready) {
@READY@
  }

  void look() {
@SEE@
  }

  bool all(size_t frames) const {
    for (size_t k = 0; k < kStreams.size(); k++)
      if (seen_[k].got != frames * kStreams[k].beats) return false;
    return true;
  }

  void edge() {
    top_->clk = 0;@DRIVE@
    top_->eval();@WATCH@
    top_->clk = 1;
    top_->eval();
    top_->clk = 0;
    total_++;
    errors_ += top_->frame_error;
  }

  // Puts a beat of the input on its port, or random bits.
  void drive(const Codes& in, size_t index, bool offering, uint16_t flip) {
    const uint32_t mask = (1u << kLaneBits) - 1;
    for (size_t i = 0; i < kLanes; i++)
      put(top_->s_axis_tdata, i * kLaneBits,
          static_cast<uint16_t>((offering ? in[index * kLanes + i] ^ flip : random_.next()) & mask));
  }

  bool receive(size_t k, bool ready, size_t frames, Result& result) {
    Seen& seen = seen_[k];
    const Stream& stream = kStreams[k];
    if (seen.held && (!seen.valid || seen.lanes != seen.held_lanes || seen.last != seen.held_last))
      return fail(result, k, "a refused beat changed before it was taken");
    const bool given = seen.valid && ready;
    seen.held = seen.valid && !given;
    seen.held_lanes = seen.lanes;
    seen.held_last = seen.last;
    if (!given) return true;
    if (seen.last && waits_ == Waits::kInTurn) next_turn();
    if (kAnswers && seen.damaged_got < damaged_ * stream.beats) {
      seen.damaged_got++;
      seen.damaged_seen += seen.last && seen.user;
      return true;
    }
    if (seen.got == frames * stream.beats) return fail(result, k, "a beat after the last frame");
    const size_t beat = seen.got % stream.beats;
    if (seen.last != (beat == stream.beats - 1) || seen.user)
      return fail(result, k, "tlast or tuser is wrong on beat " + std::to_string(beat));
    for (size_t i = 0; i < stream.lanes; i++) result.codes[k][seen.got * stream.lanes + i] = seen.lanes[i];
    seen.got++;
    if (seen.last) result.ends[k].push_back(total_);
    return true;
  }

  static bool fail(Result& result, size_t k, const std::string& text) {
    result.error = which(k) + text;
    return false;
  }

  // Sends `beats` beats with tlast on the last one, and counts the results that come out meanwhile; false when the core
  // takes no more of them.
  bool send_wrong(const Codes& in, size_t beats) {
    Result none;
    damaged_++;
    uint64_t clocks = 0;
    for (size_t i = 0; i < beats; clocks++) {
      if (clocks > limit()) return false;
      top_->s_axis_tvalid = 1;
      drive(in, i % kBeats, true, 1);
      top_->s_axis_tlast = i + 1 == beats;
      const Flags ready = choose();
      set_ready(ready);
      top_->eval();
      look();
      const bool taken = top_->s_axis_tready;
      for (size_t k = 0; k < kStreams.size(); k++) receive(k, ready[k], 0, none);
      edge();
      i += taken;
    }
    top_->s_axis_tvalid = 0;
    for (int i = 0; i < 2; i++) {  // frame_error comes a clock later
      set_ready({});
      top_->eval();
      look();
      for (size_t k = 0; k < kStreams.size(); k++) receive(k, false, 0, none);
      edge();
    }
    return true;
  }
};

// Runs the vectors; returns the clocks it took, 0 when something is wrong.
uint64_t verify(Waits waits, size_t& exact) {
  const Codes in(kInputs, kInputs + kVectors * kIn);
  Bench bench(20240229, waits, 0, nullptr);
  const Result result = bench.run(in, kVectors, true);
  if (!result.error.empty()) {
    std::printf("@NAME@: FAILED: %s\n", result.error.c_str());
    return 0;
  }
  exact = 0;
  for (size_t v = 0; v < kVectors; v++) {
    bool right = true;
    for (size_t k = 0; k < kStreams.size(); k++) {
      const size_t count = kStreams[k].codes();
      const uint16_t *got = &result.codes[k][v * count], *expected = &kStreams[k].expected[v * count];
      size_t i = 0;
      while (i < count && got[i] == expected[i]) i++;
      right = right && i == count;
      if (i < count)
        std::printf("@NAME@: vector %zu, %scode %zu is 0x%x, not 0x%x\n", v, which(k).c_str(), i, got[i], expected[i]);
    }
    exact += right;
  }
  return result.total;
}

int verify() {
  size_t exact = 0, in_turn = kVectors;
  const uint64_t clocks = verify(Waits::kRandom, exact);
  if (!clocks || (kStreams.size() > 1 && !verify(Waits::kInTurn, in_turn))) return 1;
  if (in_turn < exact) exact = in_turn;
  std::printf("@NAME@: %zu of %zu vectors bit-exact, %llu cycles\n", exact, static_cast<size_t>(kVectors),
              static_cast<unsigned long long>(clocks));
  return exact == kVectors ? 0 : 1;
}

bool write(const std::string& path, const Codes& codes) {
  FILE* out = std::fopen(path.c_str(), "wb");
  if (!out) return false;
  for (uint16_t code : codes) {
    const uint8_t b[2] = {static_cast<uint8_t>(code), static_cast<uint8_t>(code >> 8)};
    std::fwrite(b, 1, 2, out);
  }
  return !std::fclose(out);
}

int execute(const char* in_path, const char* out_path, uint64_t seed, int argc, char** argv) {
  FILE* file = std::fopen(in_path, "rb");
  if (!file) return std::fprintf(stderr, "cannot read %s\n", in_path), 2;
  Codes in;
  for (uint8_t b[2]; std::fread(b, 1, 2, file) == 2;) in.push_back(static_cast<uint16_t>(b[0] | b[1] << 8));
  std::fclose(file);
  if (in.empty() || in.size() % kIn) return std::fprintf(stderr, "%s holds no whole frames\n", in_path), 2;
  Bench bench(seed ? seed : 1, seed ? Waits::kRandom : Waits::kNone, argc, argv);
  const Result result = bench.run(in, in.size() / kIn, false);
  if (!result.error.empty()) return std::fprintf(stderr, "%s\n", result.error.c_str()), 1;
  for (size_t k = 0; k < kStreams.size(); k++) {
    const std::string path = k ? std::string(out_path) + "." + std::to_string(k) : out_path;
    if (!write(path, result.codes[k])) return std::fprintf(stderr, "cannot write %s\n", path.c_str()), 2;
  }
  for (size_t i = 0; i < result.begins.size(); i++) {  // clocks: first beat in, last beat out of every stream
    std::printf("%llu", static_cast<unsigned long long>(result.begins[i]));
    for (const auto& ends : result.ends) std::printf(" %llu", static_cast<unsigned long long>(ends[i]));
    std::printf("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char *in = nullptr, *out = nullptr;
  uint64_t seed = 0;
  for (int i = 1; i + 1 < argc; i++) {
    if (!std::strcmp(argv[i], "--in")) in = argv[i + 1];
    if (!std::strcmp(argv[i], "--out")) out = argv[i + 1];
    if (!std::strcmp(argv[i], "--seed")) seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  return in && out ? execute(in, out, seed, argc, argv) : verify();
}
