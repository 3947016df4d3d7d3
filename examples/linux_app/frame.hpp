// Frames as raw PPM (P6, colour) or PGM (P5, grey), one or many in a stream.
#ifndef FRAME_HPP
#define FRAME_HPP

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

struct Frame {
    int height = 0, width = 0, channels = 0;
    std::vector<std::uint8_t> pixels;  // rows, then columns, then channels
};

// Read the next frame. Returns false at the end of the stream.
// Throws std::runtime_error for what is no frame: another format, more than 8 bits, a side above 16384, a cut frame.
bool read_frame(std::istream &stream, Frame &frame);

// Make a grey frame RGB, or a colour frame grey by the luma of ITU-R BT.601 in integers.
void set_channels(Frame &frame, int channels);

#endif
