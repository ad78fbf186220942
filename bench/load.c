/*
 * A DNS load generator: many clients, each with its own address, batched system calls.
 *
 *   load -s ADDRESS -p PORT -f FIRST -q QUERIES [-c CLIENTS] [-w WINDOW] [-t SECONDS] [-n COUNT] [-r RATE]
 *
 * Client i sends from the address FIRST + i and walks the file of queries in a circle from its own place in it.
 * Closed loop (no -r): each client keeps WINDOW queries outstanding. Open loop (-r): queries leave at RATE a second in
 * all, at random (Poisson) moments; latency counts from the moment a query was due, so that a stalled server cannot
 * hide its stalls. It stops sending after SECONDS or COUNT queries, and ends when each is answered or lost.
 *
 * QUERIES holds records: two bytes of length (big-endian), then a DNS message whose id is overwritten.
 * Every answer is checked: from the server, id outstanding, QR set, the question's bytes unchanged.
 * Prints one JSON object. Latencies are microseconds, exact to 1.6 %.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CLIENTS = 64,
    SLOT_BITS = 10, /* an id is a slot and, above it, how often the slot was used: late answers don't match */
    SLOTS = 1 << SLOT_BITS,
    BATCH = 64,
    QUERY_BYTES = 512,
    ANSWER_BYTES = 1500,
    HEADER = 12,
    SUB_BITS = 6, /* histogram: 64 steps per power of two */
    BUCKETS = 64 << SUB_BITS,
};
#define SECOND 1000000000ull
#define LOST_AFTER SECOND

struct query {
    const uint8_t *bytes;
    uint16_t length;
};

struct slot {
    uint64_t since; /* ns; 0 = free */
    uint32_t query;
    uint16_t id;
};

struct client {
    int socket;
    uint32_t next; /* index of its next query */
    uint16_t free_count;
    uint16_t free[SLOTS];
    struct slot slots[SLOTS];
};

static struct query *queries;
static uint32_t query_count;
static struct client clients[MAX_CLIENTS];
static unsigned client_count = 16;

static uint64_t histogram[BUCKETS], rcodes[16];
static uint64_t sent, answered, lost, wrong, late, unsent, empty, slowest, first_sent, last_answer;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "not usable");
    exit(1);
}

static uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static unsigned bucket_of(uint64_t ns) {
    unsigned shift = ns < (1u << SUB_BITS) ? 0 : 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return (shift << SUB_BITS) + (unsigned)(ns >> shift); /* rising, without gaps for shift > 0 */
}

static double bucket_ns(unsigned bucket) { /* the middle of the bucket */
    unsigned shift = bucket < (2u << SUB_BITS) ? 0 : (bucket >> SUB_BITS) - 1;
    return ((double)(bucket - (shift << SUB_BITS)) + 0.5) * (double)(1ull << shift);
}

static double quantile_us(double part) {
    uint64_t rank = (uint64_t)(part * (double)answered), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) > rank) return bucket_ns(i) / 1e3;
    return (double)slowest / 1e3;
}

static void read_queries(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status) || status.st_size == 0) die(path);
    size_t size = (size_t)status.st_size;
    const uint8_t *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) die(path);
    close(file);
    if (!(queries = malloc((size / (HEADER + 2) + 1) * sizeof *queries))) die("memory");
    for (size_t at = 0; at + 2 <= size;) {
        uint16_t length = (uint16_t)(data[at] << 8 | data[at + 1]);
        if (length < HEADER || length > QUERY_BYTES || at + 2 + length > size) die("the file of queries");
        queries[query_count++] = (struct query){data + at + 2, length};
        at += 2u + length;
    }
    if (query_count == 0) die("the file of queries");
}

static void open_clients(const char *address, uint16_t port, const char *first, unsigned window, int poll) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct in_addr own_first;
    if (inet_pton(AF_INET, address, &server.sin_addr) != 1) die(address);
    if (inet_pton(AF_INET, first, &own_first) != 1) die(first);
    for (unsigned i = 0; i < client_count; i++) {
        struct client *client = &clients[i];
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(ntohl(own_first.s_addr) + i)};
        int buffer = 4 << 20;
        client->socket = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (client->socket < 0 || bind(client->socket, (struct sockaddr *)&own, sizeof own) ||
            connect(client->socket, (struct sockaddr *)&server, sizeof server))
            die("socket");
        setsockopt(client->socket, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        client->next = (uint32_t)((uint64_t)query_count * i / client_count);
        for (unsigned slot = 0; slot < window; slot++) client->free[client->free_count++] = (uint16_t)slot;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, client->socket, &event)) die("epoll");
    }
}

/* Sends up to `count` queries that count as sent at `since`; each takes a free slot. Returns how many left. */
static unsigned send_queries(struct client *client, unsigned count, uint64_t since) {
    static uint8_t packets[BATCH][QUERY_BYTES];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    if (count > client->free_count) count = client->free_count;
    if (count > BATCH) count = BATCH;
    if (count == 0) return 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = (client->next + i) % query_count;
        const struct query *query = &queries[number];
        uint16_t index = client->free[client->free_count - 1 - i];
        struct slot *slot = &client->slots[index];
        slot->id = (uint16_t)(((slot->id >> SLOT_BITS) + 1) << SLOT_BITS | index);
        slot->query = number;
        slot->since = since;
        memcpy(packets[i], query->bytes, query->length);
        packets[i][0] = (uint8_t)(slot->id >> 8);
        packets[i][1] = (uint8_t)slot->id;
        parts[i] = (struct iovec){packets[i], query->length};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    int done = sendmmsg(client->socket, messages, count, 0);
    if (done < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != EINTR) die("sendmmsg");
    unsigned left = done < 0 ? 0 : (unsigned)done;
    for (unsigned i = left; i < count; i++) client->slots[client->free[client->free_count - 1 - i]].since = 0;
    client->free_count = (uint16_t)(client->free_count - left);
    client->next = (client->next + left) % query_count;
    sent += left;
    return left;
}

static void take_answer(struct client *client, const uint8_t *answer, unsigned length, uint64_t now) {
    if (length < HEADER) {
        wrong++;
        return;
    }
    uint16_t id = (uint16_t)(answer[0] << 8 | answer[1]);
    struct slot *slot = &client->slots[id & (SLOTS - 1)];
    if (slot->since == 0 || slot->id != id) {
        late++;
        return;
    }
    const struct query *query = &queries[slot->query];
    /* An ordinary query: one question, then at most an OPT of eleven bytes. */
    unsigned question = query->length - HEADER - (query->bytes[11] ? 11u : 0u);
    if (!(answer[2] & 0x80) || length < HEADER + question || memcmp(answer + HEADER, query->bytes + HEADER, question)) {
        wrong++; /* the slot stays: the right answer may still come, else the query is lost */
        return;
    }
    uint64_t took = now > slot->since ? now - slot->since : 0;
    histogram[bucket_of(took)]++;
    if (took > slowest) slowest = took;
    rcodes[answer[3] & 15]++;
    if ((answer[3] & 15) == 0 && answer[6] == 0 && answer[7] == 0) empty++;
    answered++;
    last_answer = now;
    slot->since = 0;
    client->free[client->free_count++] = id & (SLOTS - 1);
}

static void receive_answers(struct client *client) {
    static uint8_t packets[BATCH][ANSWER_BYTES];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){packets[i], ANSWER_BYTES};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(client->socket, messages, BATCH, 0, NULL);
    if (count < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != EINTR) die("recvmmsg");
    uint64_t now = clock_ns();
    for (int i = 0; i < count; i++) take_answer(client, packets[i], messages[i].msg_len, now);
}

static void give_up_lost(uint64_t now, unsigned window) {
    for (unsigned i = 0; i < client_count; i++)
        for (unsigned s = 0; s < window; s++) {
            struct slot *slot = &clients[i].slots[s];
            if (slot->since == 0 || now < slot->since + LOST_AFTER) continue;
            slot->since = 0;
            lost++;
            clients[i].free[clients[i].free_count++] = (uint16_t)s;
        }
}

/* The gap in ns to the next query of a Poisson stream; the stream is the same in every run. */
static double next_gap(double rate) {
    static uint64_t state = 0x9e3779b97f4a7c15ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    double uniform = ((double)(state >> 11) + 0.5) / 9007199254740992.0;
    return -log(uniform) * 1e9 / rate;
}

static void send_due(double *due, double rate, uint64_t now, uint64_t limit) {
    static unsigned turn;
    while (*due <= (double)now && sent + unsent < limit) {
        if (!send_queries(&clients[turn++ % client_count], 1, (uint64_t)*due)) unsent++;
        *due += next_gap(rate);
    }
}

static void send_window(uint64_t now, uint64_t limit) {
    for (unsigned i = 0; i < client_count && sent < limit; i++) {
        uint64_t share = limit - sent;
        while (clients[i].free_count && share) {
            unsigned left = send_queries(&clients[i], share > BATCH ? BATCH : (unsigned)share, now);
            if (!left) break;
            share -= left;
        }
    }
}

static void run(int poll, double seconds, uint64_t limit, double rate, unsigned window) {
    struct epoll_event events[MAX_CLIENTS];
    uint64_t now = clock_ns(), end = now + (uint64_t)(seconds * 1e9);
    uint64_t look = now + SECOND / 10;
    double due = (double)now;
    first_sent = last_answer = now;
    for (;;) {
        bool sending = now < end && sent + unsent < limit;
        if (sending && rate > 0) send_due(&due, rate, now, limit);
        else if (sending) send_window(now, limit);
        if (!sending && answered + lost >= sent) return;
        /* Paced, it spins: a sleep would be coarser than the gaps. */
        int count = epoll_wait(poll, events, MAX_CLIENTS, sending && rate > 0 ? 0 : 20);
        for (int i = 0; i < count; i++) receive_answers(&clients[events[i].data.u32]);
        now = clock_ns();
        if (now >= look) {
            give_up_lost(now, window);
            look = now + SECOND / 10;
        }
    }
}

static void print_result(void) {
    double seconds = (double)(last_answer - first_sent) / 1e9;
    printf("{\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"late\":%" PRIu64
           ",\"unsent\":%" PRIu64 ",\"empty\":%" PRIu64,
           sent, answered, lost, wrong, late, unsent, empty);
    printf(",\"seconds\":%.6f,\"qps\":%.1f", seconds, seconds > 0 ? (double)answered / seconds : 0.0);
    printf(",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f", quantile_us(0.5),
           quantile_us(0.9), quantile_us(0.99), quantile_us(0.999), (double)slowest / 1e3);
    printf(",\"rcodes\":[");
    for (unsigned i = 0; i < 16; i++) printf(i ? ",%" PRIu64 : "%" PRIu64, rcodes[i]);
    printf("]}\n");
}

int main(int count, char **arguments) {
    const char *address = NULL, *first = NULL, *path = NULL;
    unsigned long port = 0, window = 8;
    double seconds = 1, rate = 0;
    uint64_t limit = UINT64_MAX;
    for (int option; (option = getopt(count, arguments, "s:p:f:q:c:w:t:n:r:")) != -1;) switch (option) {
            case 's': address = optarg; break;
            case 'p': port = strtoul(optarg, NULL, 10); break;
            case 'f': first = optarg; break;
            case 'q': path = optarg; break;
            case 'c': client_count = (unsigned)strtoul(optarg, NULL, 10); break;
            case 'w': window = strtoul(optarg, NULL, 10); break;
            case 't': seconds = strtod(optarg, NULL); break;
            case 'n': limit = strtoull(optarg, NULL, 10); break;
            case 'r': rate = strtod(optarg, NULL); break;
            default: return 2;
        }
    if (!address || !first || !path || port == 0 || port > 65535 || client_count == 0 || client_count > MAX_CLIENTS) die("arguments");
    if (rate > 0) window = SLOTS;
    if (window == 0 || window > SLOTS) die("window");
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) die("epoll");
    read_queries(path);
    open_clients(address, (uint16_t)port, first, (unsigned)window, poll);
    run(poll, seconds, limit, rate, (unsigned)window);
    print_result();
    return 0;
}
