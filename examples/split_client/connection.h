/* A TCP connection whose every operation ends by a deadline. Times are microseconds of a clock that never goes back. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum connection_status {
    CONNECTION_OK = 0,
    CONNECTION_LATE, /* the deadline passed */
    CONNECTION_DOWN, /* refused, reset, closed or unreachable */
    CONNECTION_AWAY  /* it was down a short while ago: not tried before `not_before_us` */
};

typedef struct {
    int socket; /* -1: not connected */
    struct sockaddr_storage address;
    socklen_t address_bytes;
    uint64_t not_before_us, retry_us;
} connection_t;

uint64_t connection_now_us(void);

/* Set the server's address. `host` is numeric (IPv4 or IPv6), so that a static program needs no resolver.
   Returns 0, or -1 where host or port is none. */
int connection_address(connection_t *connection, const char *host, const char *port);

/* Connect, unless connected. After a failure the server is left alone for half a second, doubled up to 30 s. */
int connection_open(connection_t *connection, uint64_t until_us);

int connection_send(connection_t *connection, const uint8_t *data, size_t count, uint64_t until_us);
int connection_receive(connection_t *connection, uint8_t *data, size_t count, uint64_t until_us);

/* Close after a failure, so that half a packet never meets the next frame. */
void connection_failed(connection_t *connection, int status);

#endif
