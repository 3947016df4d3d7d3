#include "frame.hpp"

#include <stdexcept>

namespace {

const int max_side = 16384;

// The next number of a header; comments from # to the end of a line may stand before it.
int read_number(std::istream &stream)
{
    int letter = stream.get();
    while (letter == ' ' || letter == '\t' || letter == '\r' || letter == '\n' || letter == '#') {
        const bool comment = letter == '#';
        do {
            letter = stream.get();
        } while (comment && letter != '\n' && letter != EOF);
    }
    int number = 0, digits = 0;
    for (; letter >= '0' && letter <= '9' && digits < 6; digits++) {
        number = 10 * number + (letter - '0');
        letter = stream.get();
    }
    // One white space ends the number; behind the last number of a header pixels begin.
    if (digits == 0 || !(letter == ' ' || letter == '\t' || letter == '\r' || letter == '\n')) {
        throw std::runtime_error("a damaged header");
    }
    return number;
}

}  // namespace

bool read_frame(std::istream &stream, Frame &frame)
{
    const int letter = stream.get();
    if (letter == EOF) {
        return false;
    }
    const int kind = stream.get();
    if (letter != 'P' || (kind != '5' && kind != '6')) {
        throw std::runtime_error("not a raw PGM or PPM frame (P5 or P6)");
    }
    frame.channels = kind == '6' ? 3 : 1;
    frame.width = read_number(stream);
    frame.height = read_number(stream);
    if (frame.width < 1 || frame.height < 1 || frame.width > max_side || frame.height > max_side) {
        throw std::runtime_error("a side outside 1 to 16384");
    }
    if (read_number(stream) != 255) {
        throw std::runtime_error("values of more or fewer than 8 bits");
    }
    const std::size_t bytes = std::size_t(frame.width) * std::size_t(frame.height) * std::size_t(frame.channels);
    frame.pixels.resize(bytes);
    stream.read(reinterpret_cast<char *>(frame.pixels.data()), std::streamsize(bytes));
    if (std::size_t(stream.gcount()) != bytes) {
        throw std::runtime_error("the frame is cut short");
    }
    return true;
}

void set_channels(Frame &frame, int channels)
{
    if (channels == frame.channels || (channels != 1 && channels != 3)) {
        return;
    }
    std::vector<std::uint8_t> made;
    const std::size_t count = std::size_t(frame.width) * std::size_t(frame.height);
    made.reserve(count * std::size_t(channels));
    for (std::size_t i = 0; i < count; i++) {
        if (channels == 3) {
            made.insert(made.end(), 3, frame.pixels[i]);
        } else {
            const std::uint8_t *const rgb = &frame.pixels[3 * i];
            const std::uint32_t luma = rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 32768u;
            made.push_back(std::uint8_t(luma >> 16));
        }
    }
    frame.pixels.swap(made);
    frame.channels = channels;
}
