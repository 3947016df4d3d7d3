// Reads frames and prints for each its name, the label, and the label's score.
//   classify FILE...      raw PPM or PGM files, each with one frame or many
//   classify -            the same from standard input, for example from
//                         ffmpeg -i /dev/video0 -f image2pipe -c:v ppm - | classify -
// Pre-processing and network run in integers; only the score is a float.
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>

#include "frame.hpp"
#include "network.hpp"

static_assert(sizeof(Network::Raw) == 1 && Network::Raw(-1) > 0, "this application is for networks that take pixels");

static bool answer(Network &network, Frame &frame, const std::string &name)
{
    set_channels(frame, Network::channels);
    if (frame.channels != Network::channels) {
        std::fprintf(stderr, "%s: %d channels; %s takes %d\n", name.c_str(), frame.channels, network_name,
                     int(Network::channels));
        return false;
    }
    const int index = network.classify(frame.pixels.data(), frame.height, frame.width);
    if (index < 0) {
        std::fprintf(stderr, "%s: a frame of %dx%d pixels; %s takes %dx%d, and declares no resize\n", name.c_str(),
                     frame.width, frame.height, network_name, int(Network::width), int(Network::height));
        return false;
    }
    float scores[Network::labels];
    network.scores(scores);
    std::printf("%s\t%s\t%.6f\n", name.c_str(), Network::label(index), double(scores[index]));
    std::fflush(stdout);
    return true;
}

static bool answer_all(Network &network, std::istream &stream, const std::string &name)
{
    Frame frame;
    bool good = true;
    try {
        for (int number = 0; read_frame(stream, frame); number++) {
            good &= answer(network, frame, number == 0 ? name : name + "#" + std::to_string(number));
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
        return false;
    }
    return good;
}

int main(int count, char **words)
{
    static Network network;  // the working memory lies in it, so it is not on the stack
    if (count < 2) {
        std::fprintf(stderr, "usage: %s FILE.ppm... | -\n", words[0]);
        return 2;
    }
    bool good = true;
    for (int i = 1; i < count; i++) {
        const std::string name = words[i];
        if (name == "-") {
            good &= answer_all(network, std::cin, name);
            continue;
        }
        std::ifstream file(name, std::ios::binary);
        if (!file) {
            std::fprintf(stderr, "%s: cannot be read\n", name.c_str());
            good = false;
            continue;
        }
        good &= answer_all(network, file, name);
    }
    return good ? 0 : 1;
}
