/* The head of a network runs here, its tail on a server (edgemill serve). Where the server does not answer by the
   deadline, for whatever reason, the local tail does: no frame is lost, and every line says who answered.
     head_client [-r] [-d MS] [-o FILE] HOST PORT < FRAMES
   FRAMES are input codes, rows then columns then channels; with -r raw values (pixels). A line for each frame holds its
   number, the label, who answered, the bytes sent, the milliseconds from the head's output to the answer, and why the
   server did not answer. A frame that a filter drops has no label and sends nothing; one that a small local tail is sure
   of is answered here and sends nothing. FILE gets the tail's output codes of what the server answered and of what the
   same tail answered here, but none of a small local tail, whose codes have another scale. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "network.h"

/* Room for a request, an answer, and a refusal with its reason. */
enum { REASON_BYTES = 256, PACKET_BYTES = (int)REQUEST_BYTES + (int)ANSWER_BYTES + REASON_BYTES };

static const char *const link_errors[] = {
    "",
    "the server refused the frame",
    "the server does not speak this protocol",
    "the server answers for another bundle",
    "the server answers another frame",
    "an answer of another size",
    "a damaged answer"
};
static const char *const connection_errors[] = {
    "",
    "no answer in time",
    "the server is not there",
    "the server was away, and is tried again later"
};

static input_t input[INPUT_SIZE];
static output_t output[OUTPUT_SIZE];
static uint8_t packet[PACKET_BYTES];
static char reason[REASON_BYTES];

/* Keep the server's own words, as one printable line. */
static void keep_reason(size_t packet_bytes)
{
    size_t i, count = packet_bytes - HEADER_BYTES - 4;
    count = count < sizeof reason - 1 ? count : sizeof reason - 1;
    for (i = 0; i < count; i++) {
        const uint8_t letter = packet[HEADER_BYTES + i];
        reason[i] = (char)(letter >= 32 && letter < 127 ? letter : '?');
    }
    reason[count] = '\0';
}

/* Send the head's output and receive a packet of *count bytes. Returns a status of the connection. */
static int exchange(connection_t *server, const cut_t *cut, uint64_t frame, uint64_t until_us, size_t *sent,
                    size_t *count)
{
    int status = connection_open(server, until_us);
    if (status != CONNECTION_OK) {
        return status;
    }
    link_request(cut, network_digest, frame, packet);
    status = connection_send(server, packet, REQUEST_BYTES, until_us);
    if (status != CONNECTION_OK) {
        return status;
    }
    *sent = REQUEST_BYTES;
    status = connection_receive(server, packet, HEADER_BYTES, until_us);
    if (status != CONNECTION_OK) {
        return status;
    }
    *count = link_bytes(packet);
    if (*count <= HEADER_BYTES || *count > sizeof packet) {
        *count = HEADER_BYTES + 4; /* no answer: nothing more is read, and link_answer says what is wrong */
        return CONNECTION_OK;
    }
    return connection_receive(server, packet + HEADER_BYTES, *count - HEADER_BYTES, until_us);
}

/* Ask the server. Returns 0 where its answer lies in `output`; else `reason` says why it does not. */
static int ask(connection_t *server, const cut_t *cut, uint64_t frame, uint64_t until_us, size_t *sent)
{
    size_t count = 0;
    int found = LINK_ANSWERED;
    const int status = exchange(server, cut, frame, until_us, sent, &count);
    if (status == CONNECTION_OK) {
        found = link_answer(packet, count, network_digest, frame, output);
        if (found == LINK_ANSWERED) {
            return 0;
        }
    }
    connection_failed(server, status);
    if (found == LINK_REFUSED) {
        keep_reason(count);
    } else {
        strcpy(reason, found != LINK_ANSWERED ? link_errors[found] : connection_errors[status]);
    }
    return -1;
}

/* Answer one frame, by the server or here. Returns whether `output` holds the codes of the answer. */
static int answer(connection_t *server, uint64_t frame, uint64_t deadline_us)
{
    uint64_t begin_us;
    size_t sent = 0;
    const cut_t *cut;
    int here = 1, label;
    const int found = network_head(input, &cut);
    if (found == HEAD_DROPPED) {
        printf("%lu\t-\tfilter\t0\t0.000\tnothing to see\n", (unsigned long)frame);
        fflush(stdout);
        return 0;
    }
    begin_us = connection_now_us();
    strcpy(reason, found == HEAD_SETTLED ? "sure here" : "");
    if (found == HEAD_SENDS) {
        here = ask(server, cut, frame, begin_us + deadline_us, &sent);
    }
    label = here ? network_local(cut, output) : network_classify(output);
    printf("%lu\t%s\t%s\t%lu\t%.3f\t%s\n", (unsigned long)frame, network_labels[label], here ? "local" : "server",
           (unsigned long)sent, (double)(connection_now_us() - begin_us) / 1e3, reason);
    fflush(stdout);
    return !here || LOCAL_HAS_CODES;
}

/* Read the next frame. Returns 1, 0 at the end, -1 where it is cut short. */
static int read_frame(int raw)
{
    size_t came, size = sizeof input;
    void *place = input;
#if NETWORK_HAS_RAW
    static raw_t pixels[INPUT_SIZE];
    if (raw) {
        place = pixels;
        size = sizeof pixels;
    }
#endif
    came = fread(place, 1, size, stdin);
    if (came != size) {
        return came == 0 ? 0 : -1;
    }
#if NETWORK_HAS_RAW
    if (raw) {
        network_preprocess(pixels, input);
    }
#else
    (void)raw;
#endif
    return 1;
}

static int usage(const char *name)
{
    fprintf(stderr, "usage: %s [-r] [-d MS] [-o FILE] HOST PORT < FRAMES (HOST is numeric; -r: raw values%s)\n", name,
            NETWORK_HAS_RAW ? "" : ", which this network does not take");
    return 2;
}

int main(int count, char **words)
{
    connection_t server;
    unsigned long deadline_ms = 1000;
    uint64_t frame = 0;
    FILE *codes = NULL;
    int option, raw = 0, found;
    while ((option = getopt(count, words, "rd:o:")) != -1) {
        if (option == 'r' && NETWORK_HAS_RAW) {
            raw = 1;
        } else if (option == 'd' && strtoul(optarg, NULL, 10) > 0) {
            deadline_ms = strtoul(optarg, NULL, 10);
        } else if (option == 'o') {
            codes = fopen(optarg, "wb");
            if (codes == NULL) {
                perror(optarg);
                return 1;
            }
        } else {
            return usage(words[0]);
        }
    }
    if (count - optind != 2 || connection_address(&server, words[optind], words[optind + 1]) != 0) {
        return usage(words[0]);
    }
    while ((found = read_frame(raw)) > 0) {
        const int made = answer(&server, ++frame, (uint64_t)deadline_ms * 1000u);
        if (made && codes != NULL && fwrite(output, sizeof output, 1, codes) != 1) {
            perror("the codes");
            return 1;
        }
    }
    connection_failed(&server, CONNECTION_OK);
    if (codes != NULL && fclose(codes) != 0) {
        perror("the codes");
        return 1;
    }
    if (found < 0) {
        fprintf(stderr, "frame %lu is cut short: a frame has %lu bytes\n", (unsigned long)frame + 1,
                (unsigned long)(raw ? INPUT_SIZE : sizeof input));
    }
    return found < 0 ? 1 : 0;
}
