// Drives every core of `bench` on its own, all on one clock: frames back to back without waits, then again after a reset
// in the middle of other traffic, with random waits on both sides of each core.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include "Vbench.h"
#include "verilated.h"

namespace {

struct Random {
  uint64_t state;
  uint32_t next() {  // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<uint32_t>((state * 2685821657736338717ULL) >> 33);
  }
};

struct Port {
  QData& s_data;
  CData &s_valid, &s_last, &m_ready, &s_ready;
  IData& m_data;
  CData &m_valid, &m_last, &m_user, &error;
  size_t lanes, lane_bits, beats, outputs, frames;
  uint64_t patience;
};

struct Side {  // what one core was given and gave, in one phase
  size_t sent = 0, got = 0;
  uint64_t idle = 0;
  bool offering = false, held = false;
  uint32_t held_data = 0;
  std::vector<uint16_t> codes;
  std::vector<uint64_t> begins, ends;
};

std::vector<uint16_t> read(const std::string& path) {
  std::vector<uint16_t> codes;
  FILE* file = std::fopen(path.c_str(), "rb");
  for (uint8_t b[2]; file && std::fread(b, 1, 2, file) == 2;) codes.push_back(static_cast<uint16_t>(b[0] | b[1] << 8));
  if (file) std::fclose(file);
  return codes;
}

void fail(size_t core, const char* text) {
  std::printf("core %zu: %s\n", core, text);
  std::exit(1);
}

class Bench {
 public:
  Bench() : top{&context} {
    context.randReset(2);
    for (size_t i = 0; i < ports.size(); i++) inputs.push_back(read("in_" + std::to_string(i) + ".bin"));
  }

  void reset() {
    top.rst = 1;
    for (int i = 0; i < 4; i++) edge();
    top.rst = 0;
    clock = 0;
  }

  // Frames to all cores until all results are there, or for `limit` clocks.
  std::vector<Side> run(bool waits, uint64_t limit) {
    std::vector<Side> sides(ports.size());
    for (uint64_t after = 0; after < 64 && clock < limit;) {
      for (size_t i = 0; i < ports.size(); i++) offer(i, sides[i], waits);
      top.eval();
      bool all = true;
      std::vector<bool> taken(ports.size());
      for (size_t i = 0; i < ports.size(); i++) {
        taken[i] = sides[i].offering && ports[i].s_ready;
        if (!taken[i]) sides[i].idle++;
        receive(i, sides[i], taken[i]);
        all = all && sides[i].got == ports[i].frames * ports[i].outputs;
      }
      edge();
      for (size_t i = 0; i < ports.size(); i++) {
        if (taken[i]) sides[i].sent++, sides[i].offering = false, sides[i].idle = 0;
        if (ports[i].error) fail(i, "a whole frame raised frame_error");
      }
      after = all ? after + 1 : 0;
    }
    return sides;
  }

  void write(const char* phase, const std::vector<Side>& sides) {
    for (size_t i = 0; i < sides.size(); i++) {
      FILE* file = std::fopen((phase + ("_" + std::to_string(i)) + ".bin").c_str(), "wb");
      for (uint16_t code : sides[i].codes) std::fputc(code & 255, file), std::fputc(code >> 8, file);
      std::fclose(file);
    }
  }

  void write_clocks(const std::vector<Side>& sides) {
    for (size_t i = 0; i < sides.size(); i++) {
      FILE* file = std::fopen(("clocks_" + std::to_string(i) + ".txt").c_str(), "w");
      for (size_t frame = 0; frame < sides[i].ends.size(); frame++)
        std::fprintf(file, "%llu %llu\n", static_cast<unsigned long long>(sides[i].begins[frame]),
                     static_cast<unsigned long long>(sides[i].ends[frame]));
      std::fclose(file);
    }
  }

 private:
  VerilatedContext context;
  Vbench top;
  std::vector<Port> ports{
@PORTS@
  };
  std::vector<std::vector<uint16_t>> inputs;
  Random random{88172645463325252ULL};
  uint64_t clock = 0;

  void edge() {
    top.clk = 0;
    top.eval();
    top.clk = 1;
    top.eval();
    top.clk = 0;
    clock++;
  }

  void offer(size_t i, Side& side, bool waits) {
    Port& port = ports[i];
    if (!side.offering) side.offering = side.sent < port.frames * port.beats && (!waits || random.next() % 3);
    uint64_t word = random.next();
    if (side.offering) {
      word = 0;
      for (size_t lane = 0; lane < port.lanes; lane++)
        word |= static_cast<uint64_t>(inputs[i][side.sent * port.lanes + lane]) << (lane * port.lane_bits);
    }
    port.s_data = word;
    port.s_valid = side.offering;
    port.s_last = side.offering ? side.sent % port.beats == port.beats - 1 : random.next() & 1;
    port.m_ready = !waits || random.next() % 4;
  }

  void receive(size_t i, Side& side, bool taken) {
    Port& port = ports[i];
    if (taken && side.sent % port.beats == 0) side.begins.push_back(clock);
    const uint32_t data = port.m_data | static_cast<uint32_t>(port.m_last) << 16;
    if (side.held && (!port.m_valid || data != side.held_data)) fail(i, "a refused beat changed before it was taken");
    side.held = port.m_valid && !port.m_ready;
    side.held_data = data;
    const size_t all = port.frames * port.outputs;
    if (side.got < all && side.idle > port.patience * 16 + 20000) fail(i, "nothing moves any more");
    if (!port.m_valid || !port.m_ready) return;
    side.idle = 0;
    if (side.got == all) fail(i, "a beat after the last frame");
    if (port.m_last != (side.got % port.outputs == port.outputs - 1) || port.m_user) fail(i, "tlast or tuser is wrong");
    side.codes.push_back(static_cast<uint16_t>(port.m_data));
    if (++side.got % port.outputs == 0) side.ends.push_back(clock);
  }
};

}  // namespace

int main() {
  Bench bench;
  bench.reset();
  const std::vector<Side> plain = bench.run(false, UINT64_MAX);
  bench.write("plain", plain);
  bench.write_clocks(plain);
  bench.run(true, 333 + 64);  // left in the middle of a frame
  bench.reset();
  bench.write("waits", bench.run(true, UINT64_MAX));
}
