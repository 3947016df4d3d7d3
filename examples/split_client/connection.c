#define _POSIX_C_SOURCE 200809L

#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const uint64_t first_retry_us = 500000, most_retry_us = 30000000;

uint64_t connection_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

int connection_address(connection_t *connection, const char *host, const char *port)
{
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    char *end;
    const unsigned long number = strtoul(port, &end, 10);
    memset(connection, 0, sizeof *connection);
    connection->socket = -1;
    connection->retry_us = first_retry_us;
    if (*end != '\0' || end == port || number == 0 || number > 65535) {
        return -1;
    }
    memset(&four, 0, sizeof four);
    memset(&six, 0, sizeof six);
    if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
        four.sin_family = AF_INET;
        four.sin_port = htons((uint16_t)number);
        memcpy(&connection->address, &four, sizeof four);
        connection->address_bytes = sizeof four;
        return 0;
    }
    if (inet_pton(AF_INET6, host, &six.sin6_addr) == 1) {
        six.sin6_family = AF_INET6;
        six.sin6_port = htons((uint16_t)number);
        memcpy(&connection->address, &six, sizeof six);
        connection->address_bytes = sizeof six;
        return 0;
    }
    return -1;
}

/* Wait until the socket may be read or written. */
static int ready(int socket, short what, uint64_t until_us)
{
    for (;;) {
        struct pollfd waited = {socket, what, 0};
        const uint64_t now = connection_now_us();
        int found;
        if (now >= until_us) {
            return CONNECTION_LATE;
        }
        found = poll(&waited, 1, (int)((until_us - now + 999u) / 1000u));
        if (found > 0) {
            return CONNECTION_OK;
        }
        if (found < 0 && errno != EINTR) {
            return CONNECTION_DOWN;
        }
    }
}

static int later(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Begin to connect and wait for the outcome. */
static int reach(const connection_t *connection, uint64_t until_us)
{
    int error = 0, status;
    socklen_t size = sizeof error;
    if (connect(connection->socket, (const struct sockaddr *)&connection->address, connection->address_bytes) == 0) {
        return CONNECTION_OK;
    }
    if (errno != EINPROGRESS && errno != EINTR) {
        return CONNECTION_DOWN;
    }
    status = ready(connection->socket, POLLOUT, until_us);
    if (status != CONNECTION_OK) {
        return status;
    }
    getsockopt(connection->socket, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0 ? CONNECTION_OK : CONNECTION_DOWN;
}

int connection_open(connection_t *connection, uint64_t until_us)
{
    int one = 1, status;
    if (connection->socket >= 0) {
        return CONNECTION_OK;
    }
    if (connection_now_us() < connection->not_before_us) {
        return CONNECTION_AWAY;
    }
    connection->socket = socket(connection->address.ss_family, SOCK_STREAM, 0);
    if (connection->socket < 0) {
        return CONNECTION_DOWN;
    }
    fcntl(connection->socket, F_SETFL, O_NONBLOCK);
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    status = reach(connection, until_us);
    if (status == CONNECTION_OK) {
        connection->retry_us = first_retry_us;
    }
    return status;
}

int connection_send(connection_t *connection, const uint8_t *data, size_t count, uint64_t until_us)
{
    while (count > 0) {
        const ssize_t sent = send(connection->socket, data, count, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            count -= (size_t)sent;
        } else if (sent < 0 && later()) {
            const int status = ready(connection->socket, POLLOUT, until_us);
            if (status != CONNECTION_OK) {
                return status;
            }
        } else {
            return CONNECTION_DOWN;
        }
    }
    return CONNECTION_OK;
}

int connection_receive(connection_t *connection, uint8_t *data, size_t count, uint64_t until_us)
{
    while (count > 0) {
        const ssize_t came = recv(connection->socket, data, count, 0);
        if (came > 0) {
            data += came;
            count -= (size_t)came;
        } else if (came < 0 && later()) {
            const int status = ready(connection->socket, POLLIN, until_us);
            if (status != CONNECTION_OK) {
                return status;
            }
        } else {
            return CONNECTION_DOWN;
        }
    }
    return CONNECTION_OK;
}

void connection_failed(connection_t *connection, int status)
{
    if (connection->socket >= 0) {
        close(connection->socket);
        connection->socket = -1;
    }
    if (status == CONNECTION_DOWN) {
        connection->not_before_us = connection_now_us() + connection->retry_us;
        connection->retry_us = 2 * connection->retry_us < most_retry_us ? 2 * connection->retry_us : most_retry_us;
    }
}
