/*
 * The upstream of all servers under test: answers every name from its hash, so that all cache the same records.
 *
 *   upstream ADDRESS PORT
 *
 * A, AAAA and HTTPS get one record with a TTL of an hour, other types NODATA with a SOA; an OPT is answered with one.
 * The addresses are public ones, which rebinding protection leaves alone; nobody sends anything to them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, BYTES = 1500, HEADER = 12, TYPE_A = 1, TYPE_SOA = 6, TYPE_AAAA = 28, TYPE_HTTPS = 65 };

/* Returns the offset behind the question, or 0 when the message is not one ordinary query. */
static unsigned question_end(const uint8_t *message, unsigned length, uint32_t *hash) {
    unsigned at = HEADER;
    *hash = 2166136261u; /* FNV-1a over the name in lower case */
    if (length < HEADER + 5 || message[2] & 0x80 || message[4] || message[5] != 1) return 0;
    while (at < length && message[at]) {
        unsigned label = message[at];
        if (label > 63 || at + 1 + label >= length) return 0;
        for (unsigned i = 0; i <= label; i++) *hash = (*hash ^ (message[at + i] | (i ? 0x20 : 0))) * 16777619u;
        at += 1 + label;
    }
    return at + 5 <= length ? at + 5 : 0;
}

static uint8_t *put_record(uint8_t *out, unsigned type, const uint8_t *data, unsigned length) {
    const uint8_t head[] = {0xc0, HEADER, (uint8_t)(type >> 8), (uint8_t)type, 0, 1, 0, 0, 14, 16, 0, (uint8_t)length};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, data, length);
    return out + sizeof head + length;
}

/* Turns the query in `message` into its answer; returns the new length, 0 = no answer. */
static unsigned answer(uint8_t *message, unsigned length) {
    uint32_t hash;
    unsigned end = question_end(message, length, &hash);
    if (!end || end > BYTES - 128) return 0;
    unsigned type = (unsigned)message[end - 4] << 8 | message[end - 3];
    int edns = message[10] || message[11];
    const uint8_t v4[] = {1, (uint8_t)(hash >> 16), (uint8_t)(hash >> 8), (uint8_t)hash};
    const uint8_t v6[16] = {0x2a, 0x02, [12] = (uint8_t)(hash >> 24), v4[1], v4[2], v4[3]};
    const uint8_t https[] = {0, 1, 0, 0, 1, 0, 6, 2, 'h', '2', 2, 'h', '3'};
    const uint8_t soa[] = {2, 'n', 's', 0, 2, 'n', 's', 0, 0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 14, 16};
    const uint8_t opt[] = {0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0};
    uint8_t *out = message + end;
    int found = 1;
    if (type == TYPE_A) out = put_record(out, type, v4, sizeof v4);
    else if (type == TYPE_AAAA) out = put_record(out, type, v6, sizeof v6);
    else if (type == TYPE_HTTPS) out = put_record(out, type, https, sizeof https);
    else out = put_record(out, TYPE_SOA, soa, sizeof soa), found = 0;
    if (edns) memcpy(out, opt, sizeof opt), out += sizeof opt;
    message[2] = 0x80 | (message[2] & 1); /* QR, RD as asked */
    message[3] = 0x80;                    /* RA */
    message[6] = message[8] = message[10] = 0;
    message[7] = (uint8_t)found;
    message[9] = (uint8_t)!found;
    message[11] = (uint8_t)edns;
    return (unsigned)(out - message);
}

int main(int count, char **arguments) {
    static uint8_t packets[BATCH][BYTES];
    static struct sockaddr_in peers[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr incoming[BATCH], outgoing[BATCH];
    struct sockaddr_in own = {.sin_family = AF_INET};
    int size = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (count != 3 || inet_pton(AF_INET, arguments[1], &own.sin_addr) != 1) return 2;
    own.sin_port = htons((uint16_t)atoi(arguments[2]));
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own)) return perror("upstream"), 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){packets[i], BYTES};
            incoming[i].msg_hdr = (struct msghdr){&peers[i], sizeof peers[i], &parts[i], 1, NULL, 0, 0};
        }
        int received = recvmmsg(fd, incoming, BATCH, MSG_WAITFORONE, NULL), ready = 0;
        for (int i = 0; i < received; i++) {
            unsigned length = answer(packets[i], incoming[i].msg_len);
            if (!length) continue;
            parts[i].iov_len = length;
            outgoing[ready++].msg_hdr = (struct msghdr){&peers[i], sizeof peers[i], &parts[i], 1, NULL, 0, 0};
        }
        if (ready) sendmmsg(fd, outgoing, (unsigned)ready, 0);
    }
}
