/*
 * Both ends of many TCP flows, in two network namespaces: a load for what stands between them.
 *
 *   flows -C NAMESPACE -S NAMESPACE -a ADDRESS -d DEVICE [-n DEVICES] [-p PORT]
 *         (-f MESSAGES [-e BYTES] | -T NAME)        what a flow says: canned bytes, or real TLS 1.3 with this server name
 *         (-w WINDOW | -r RATE) -t SECONDS          a load of new flows: closed loop, or paced at random (Poisson) moments
 *       | -h COUNT -r RATE                          open flows and hold them until stdin ends
 *       | -b (up|down) -t SECONDS [-k CORE] [-K CORE]
 *                                                 one flow, then as many bytes as go through, at each line of stdin
 *
 * Flow i leaves through the device DEVICE followed by i modulo DEVICES: each is one cable of one home device, with a MAC.
 * A canned flow: SYN; the client sends MESSAGES, a segment each; the server answers when it has BYTES of them (all);
 * the client sends what ends a TLS handshake; the server answers again. Then the client resets: no TIME-WAIT on any
 * machine. Both ends are one process, so that nothing but the network lies between them; with -h and -b they are two.
 *
 * MESSAGES holds records: two bytes of length (big-endian), then bytes. Prints JSON. Latencies are microseconds, from
 * the moment that a flow was due: a stalled router cannot hide its stalls.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_ENDS = 1 << 16, /* file descriptors */
    MAX_FLOWS = 1 << 22, /* whose latency is kept */
    MAX_MESSAGES = 8,
    MAX_MESSAGE = 8192,
    ANSWER_BYTES = 2800, /* a server's first flight with one certificate */
    FINISH_BYTES = 64, /* a client's second flight */
    TICKET_BYTES = 500,
    BUFFER_BYTES = 1 << 17,
    EVENTS = 256,
};
#define SECOND 1000000000ull
#define LOST_AFTER (5 * SECOND)
#define SPIN_BELOW 300000ull /* ns: sleeping is not exact enough */

enum state { FREE, LISTENING, CONNECTING, ASKING, FINISHING, HELD, SERVING, ANSWERED, SERVED };

struct end {
    enum state state;
    uint32_t received;
    uint64_t due, asked;
    float connect_us, hello_us, answer_us;
    SSL *tls;
};

static struct end ends[MAX_ENDS];
static int poller, last_end;
static struct message { uint16_t length; uint8_t bytes[MAX_MESSAGE]; } messages[MAX_MESSAGES];
static unsigned message_count, expected, device_count = 1;
static const char *device, *tls_name;
static struct sockaddr_in server;
static SSL_CTX *client_tls, *server_tls;
static uint8_t finish[FINISH_BYTES] = {20, 3, 3, 0, 1, 1, 23, 3, 3, 0, FINISH_BYTES - 11};
static uint8_t buffer[BUFFER_BYTES];

static uint64_t started, done, failed, lost, outstanding, held, last_done;
static bool holds;
static float *connect_us, *hello_us, *answer_us;

static void die(const char *what) {
    fprintf(stderr, "flows: %s: %s\n", what, errno ? strerror(errno) : "not usable");
    exit(1);
}

static uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static float microseconds(uint64_t from, uint64_t to) { return (float)(to - from) / 1e3f; }

static void enter(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", name);
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    if (handle < 0 || setns(handle, CLONE_NEWNET)) die(path);
    close(handle);
}

static void read_messages(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    uint8_t head[2];
    while (fread(head, 1, 2, file) == 2) {
        struct message *message = &messages[message_count++];
        message->length = (uint16_t)(head[0] << 8 | head[1]);
        if (message_count > MAX_MESSAGES || message->length > MAX_MESSAGE) die("messages");
        if (fread(message->bytes, 1, message->length, file) != message->length) die("messages");
        expected += message->length;
    }
    fclose(file);
}

/* The ends */

static void watch(int fd, enum state state) {
    if (fd >= MAX_ENDS) die("too many descriptors");
    ends[fd] = (struct end){.state = state};
    if (fd > last_end) last_end = fd;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
    if (state == LISTENING) event.events = EPOLLIN;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void drop(int fd) {
    if (ends[fd].tls) SSL_free(ends[fd].tls);
    ends[fd] = (struct end){.state = FREE};
    close(fd);
}

static void set_flag(int fd, int level, int option) {
    int one = 1;
    if (setsockopt(fd, level, option, &one, sizeof one)) die("setsockopt");
}

static int open_server(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
    if (bind(fd, (struct sockaddr *)&server, sizeof server) || listen(fd, 4096)) die("listen");
    return fd;
}

static int open_client(uint64_t number, bool blocking) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0) die("socket");
    char name[IFNAMSIZ];
    snprintf(name, sizeof name, "%s%" PRIu64, device, number % device_count);
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1)) die(name);
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (!blocking) setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return fd;
}

static void start_flow(uint64_t due) {
    int fd = open_client(started, false);
    watch(fd, CONNECTING);
    ends[fd].due = due;
    started++;
    outstanding++;
    if (connect(fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) die("connect");
}

static void end_flow(int fd, uint64_t *count) {
    ++*count;
    outstanding--;
    if (holds && count == &done) {
        ends[fd].state = HELD;
        held++;
        return;
    }
    drop(fd);
}

static void note_answer(struct end *end, uint64_t now) {
    end->hello_us = microseconds(end->asked, now);
    end->answer_us = microseconds(end->due, now);
}

static void succeed(int fd, uint64_t now) {
    if (done < MAX_FLOWS) {
        connect_us[done] = ends[fd].connect_us;
        hello_us[done] = ends[fd].hello_us;
        answer_us[done] = ends[fd].answer_us;
    }
    last_done = now;
    end_flow(fd, &done);
}

static bool send_all(int fd, const void *bytes, size_t length) {
    return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* A client's turn; canned. */
static void go_on_client(int fd, uint32_t events, uint64_t now) {
    struct end *end = &ends[fd];
    if (events & (EPOLLERR | EPOLLHUP)) {
        if (end->state != HELD) end_flow(fd, &failed);
        return;
    }
    if (end->state == CONNECTING && events & EPOLLOUT) {
        end->connect_us = microseconds(end->due, now);
        for (unsigned i = 0; i < message_count; i++)
            if (!send_all(fd, messages[i].bytes, messages[i].length)) return end_flow(fd, &failed);
        end->state = ASKING;
        end->asked = now;
        if (holds && expected > MAX_MESSAGE * MAX_MESSAGES) return end_flow(fd, &done); /* no answer will come */
    }
    if (!(events & EPOLLIN) || end->state == HELD) return;
    ssize_t size = recv(fd, buffer, sizeof buffer, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return end_flow(fd, &failed);
    if (end->received == 0) note_answer(end, now);
    end->received += (uint32_t)size;
    if (end->state == ASKING && end->received >= ANSWER_BYTES) {
        if (!send_all(fd, finish, sizeof finish)) return end_flow(fd, &failed);
        end->state = FINISHING;
    }
    if (end->received >= ANSWER_BYTES + TICKET_BYTES) succeed(fd, now);
}

static void go_on_server(int fd, uint32_t events) {
    struct end *end = &ends[fd];
    if (events & (EPOLLERR | EPOLLHUP)) return drop(fd);
    ssize_t size = recv(fd, buffer, sizeof buffer, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return drop(fd);
    end->received += (uint32_t)size;
    static uint8_t answer[ANSWER_BYTES];
    if (end->state == SERVING && end->received >= expected) {
        end->state = ANSWERED;
        if (!send_all(fd, answer, ANSWER_BYTES)) return drop(fd);
    }
    if (end->state == ANSWERED && end->received >= expected + FINISH_BYTES) {
        end->state = SERVED;
        if (!send_all(fd, answer, TICKET_BYTES)) return drop(fd);
    }
}

/* Either end's turn; real TLS. */
static void go_on_tls(int fd, uint32_t events, uint64_t now) {
    struct end *end = &ends[fd];
    bool is_client = end->state < SERVING;
    if (events & (EPOLLERR | EPOLLHUP)) {
        if (is_client) return end_flow(fd, &failed);
        return drop(fd);
    }
    if (!end->tls) {
        if (!(events & EPOLLOUT)) return;
        end->tls = SSL_new(is_client ? client_tls : server_tls);
        SSL_set_fd(end->tls, fd);
        SSL_set_quiet_shutdown(end->tls, 1);
        if (is_client) {
            end->connect_us = microseconds(end->due, now);
            end->asked = now;
            SSL_set_tlsext_host_name(end->tls, tls_name);
            SSL_set_connect_state(end->tls);
        } else
            SSL_set_accept_state(end->tls);
    }
    int result = SSL_do_handshake(end->tls);
    if (result == 1 && end->state == CONNECTING) {
        note_answer(end, now);
        end->state = FINISHING;
        result = SSL_write(end->tls, "?", 1);
    }
    if (result == 1) {
        char word;
        result = SSL_read(end->tls, &word, 1);
        if (result == 1 && is_client) return succeed(fd, clock_ns());
        if (result == 1) result = SSL_write(end->tls, "!", 1);
    }
    if (result != 1 && SSL_get_error(end->tls, result) != SSL_ERROR_WANT_READ) {
        if (is_client) end_flow(fd, &failed);
        else drop(fd);
    }
}

static void take_flows(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
        watch(fd, SERVING);
    }
}

static void go_on(uint64_t wait_ns) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, wait_ns < SPIN_BELOW ? 0 : (int)(wait_ns / 1000000));
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        enum state state = ends[fd].state;
        if (state == FREE) continue;
        if (state == LISTENING) take_flows(fd);
        else if (tls_name) go_on_tls(fd, events[i].events, clock_ns());
        else if (state >= SERVING) go_on_server(fd, events[i].events);
        else go_on_client(fd, events[i].events, clock_ns());
    }
}

static void give_up_old(uint64_t now) {
    static uint64_t looked;
    if (now - looked < SECOND / 4) return;
    looked = now;
    for (int fd = 0; fd <= last_end; fd++)
        if (ends[fd].state >= CONNECTING && ends[fd].state <= FINISHING && ends[fd].due + LOST_AFTER < now)
            end_flow(fd, &lost);
}

/* What is done with them */

static int compare(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

static void print_latency(const char *name, float *us) {
    uint64_t count = done < MAX_FLOWS ? done : MAX_FLOWS;
    qsort(us, count, sizeof *us, compare);
    for (int i = 0; i < 3; i++) {
        static const int shares[] = {500, 990, 999};
        static const char *const words[] = {"p50", "p99", "p999"};
        printf(", \"%s_%s_us\": %.1f", name, words[i], count ? us[(count - 1) * (uint64_t)shares[i] / 1000] : 0.0);
    }
}

/* Open flows for `seconds`, or `limit` of them, and wait until each has ended. Returns the seconds until the last one. */
static double run_flows(uint64_t window, double rate, double seconds, uint64_t limit) {
    uint64_t began = clock_ns(), end = limit ? UINT64_MAX : began + (uint64_t)(seconds * 1e9), due = began, now = began;
    while ((now < end && !(limit && started >= limit)) || outstanding) {
        if (rate > 0) {
            while (due <= now && due < end && !(limit && started >= limit)) {
                start_flow(due);
                due += (uint64_t)(-log((double)(random() + 1) / (RAND_MAX + 2.0)) / rate * 1e9);
            }
        } else
            while (outstanding < window && now < end) start_flow(clock_ns());
        bool is_paced = rate > 0 && due < end && !(limit && started >= limit);
        go_on(is_paced ? (due > now ? due - now : 0) : SECOND / 100);
        now = clock_ns();
        give_up_old(now);
    }
    return last_done > began ? (double)(last_done - began) / 1e9 : seconds;
}

static void print_load(double seconds) {
    printf("{\"started\": %" PRIu64 ", \"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"lost\": %" PRIu64, started, done,
           failed, lost);
    printf(", \"seconds\": %.4f, \"per_second\": %.1f", seconds, (double)done / seconds);
    print_latency("connect", connect_us);
    print_latency("hello", hello_us);
    print_latency("answer", answer_us);
    printf("}\n");
}

static void wait_for_stdin(void) {
    char word[16];
    while (read(0, word, sizeof word) > 0 || errno == EINTR) errno = 0;
}

/* The other process, which ends with this one */
static pid_t fork_server(const char *place) {
    int ready[2];
    if (pipe(ready)) die("pipe");
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child) {
        char word;
        close(ready[1]);
        if (read(ready[0], &word, 1) != 1) die("the server");
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    enter(place);
    if (write(ready[1], "!", 1) != 1) die("pipe");
    return 0;
}

static void hold(const char *client, const char *place, uint64_t count, double rate) {
    holds = true;
    int listener = -1;
    enter(place);
    listener = open_server();
    poller = epoll_create1(EPOLL_CLOEXEC);
    pid_t child = fork_server(place);
    if (!child) {
        watch(listener, LISTENING);
        for (;;) go_on(SECOND);
    }
    close(listener);
    enter(client);
    poller = epoll_create1(EPOLL_CLOEXEC); /* its own */
    run_flows(0, rate, 0, count);
    printf("{\"held\": %" PRIu64 ", \"failed\": %" PRIu64 "}\n", held, failed + lost);
    fflush(stdout);
    wait_for_stdin();
    kill(child, SIGKILL);
}

static void receive_exactly(int fd, size_t wanted) {
    while (wanted) {
        ssize_t size = recv(fd, buffer, wanted < sizeof buffer ? wanted : sizeof buffer, 0);
        if (size <= 0) die("the stream was cut");
        wanted -= (size_t)size;
    }
}

static void send_exactly(int fd, const uint8_t *bytes, size_t length) {
    if (!send_all(fd, bytes, length)) die("the stream was cut");
}

static void pin(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    if (core >= 0 && sched_setaffinity(0, sizeof cores, &cores)) die("core");
}

/* What both processes of a stream see. */
struct shared {
    volatile uint64_t count; /* of bytes received */
    volatile bool goes;
};

static void pump(int fd, bool sends, struct shared *shared) {
    for (;;) {
        while (sends && !shared->goes) usleep(2000);
        ssize_t size = sends ? send(fd, buffer, sizeof buffer, MSG_NOSIGNAL) : recv(fd, buffer, sizeof buffer, 0);
        if (size <= 0) die("the stream was cut");
        if (!sends) shared->count += (uint64_t)size;
    }
}

/* The server's end of a stream. */
static void serve_stream(int listener, bool up, struct shared *shared) {
    int fd = accept(listener, NULL, NULL);
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    receive_exactly(fd, expected);
    send_exactly(fd, buffer, ANSWER_BYTES);
    receive_exactly(fd, FINISH_BYTES);
    send_exactly(fd, buffer, TICKET_BYTES);
    pump(fd, !up, shared);
}

/* Pump for some seconds at each line of stdin. The processes are killed at the end, or with this one. */
static void time_stream(struct shared *shared, double seconds) {
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        shared->goes = true;
        usleep(50000); /* the window opens again */
        uint64_t before = shared->count, began = clock_ns();
        while (clock_ns() < began + (uint64_t)(seconds * 1e9)) usleep(1000);
        uint64_t bytes = shared->count - before;
        double taken = (double)(clock_ns() - began) / 1e9;
        shared->goes = false;
        usleep(50000); /* what is in the buffers still comes */
        if (waitpid(-1, NULL, WNOHANG) > 0) die("a process ended");
        printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.4f, \"gbps\": %.4f}\n", bytes, taken,
               (double)bytes * 8e-9 / taken);
        fflush(stdout);
    }
}

static void stream(const char *client, const char *place, bool up, double seconds, const int cores[2]) {
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("memory");
    enter(place);
    int listener = open_server();
    fcntl(listener, F_SETFL, 0);
    pid_t child = fork_server(place);
    if (!child) {
        pin(cores[1]);
        serve_stream(listener, up, shared);
    }
    close(listener);
    enter(client);
    pin(cores[0]);
    int fd = open_client(0, true);
    if (connect(fd, (struct sockaddr *)&server, sizeof server)) die("connect");
    for (unsigned i = 0; i < message_count; i++) send_exactly(fd, messages[i].bytes, messages[i].length);
    receive_exactly(fd, ANSWER_BYTES);
    send_exactly(fd, finish, FINISH_BYTES);
    receive_exactly(fd, TICKET_BYTES);
    printf("handed over\n");
    fflush(stdout);
    pid_t pumping = fork();
    if (!pumping) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pump(fd, up, shared);
    }
    time_stream(shared, seconds);
    kill(pumping, SIGKILL);
    kill(child, SIGKILL);
}

/* A certificate for one run: P-256, as most sites have. */
static void make_tls(void) {
    client_tls = SSL_CTX_new(TLS_client_method());
    server_tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(client_tls, TLS1_3_VERSION);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)tls_name, -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    if (!X509_sign(certificate, key, EVP_sha256()) || SSL_CTX_use_certificate(server_tls, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(server_tls, key) != 1)
        die("certificate");
}

static float *make_latencies(void) {
    float *us = mmap(NULL, MAX_FLOWS * sizeof *us, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (us == MAP_FAILED) die("memory");
    return us;
}

int main(int argc, char **argv) {
    const char *client = NULL, *place = NULL, *direction = NULL;
    uint64_t window = 1, count = 0;
    double rate = 0, seconds = 1;
    int cores[2] = {-1, -1};
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(443)};
    unsigned waited_for = 0;
    for (int option; (option = getopt(argc, argv, "C:S:a:d:n:p:f:e:T:w:r:t:h:b:k:K:")) != -1;) switch (option) {
        case 'C': client = optarg; break;
        case 'S': place = optarg; break;
        case 'a': if (!inet_aton(optarg, &server.sin_addr)) die(optarg); break;
        case 'd': device = optarg; break;
        case 'n': device_count = (unsigned)atoi(optarg); break;
        case 'p': server.sin_port = htons((uint16_t)atoi(optarg)); break;
        case 'f': read_messages(optarg); break;
        case 'e': waited_for = (unsigned)atoi(optarg); break;
        case 'T': tls_name = optarg; break;
        case 'w': window = strtoull(optarg, NULL, 10); break;
        case 'r': rate = atof(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'h': count = strtoull(optarg, NULL, 10); break;
        case 'b': direction = optarg; break;
        case 'k': cores[0] = atoi(optarg); break; /* -b: the client's core, and -K the server's */
        case 'K': cores[1] = atoi(optarg); break;
        default: return 2;
        }
    if (waited_for) expected = waited_for;
    if (!client || !place || !device || !device_count || (!message_count && !tls_name)) die("arguments");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    srandom(1);
    connect_us = make_latencies(), hello_us = make_latencies(), answer_us = make_latencies();
    if (direction) {
        stream(client, place, !strcmp(direction, "up"), seconds, cores);
        return 0;
    }
    if (count) {
        hold(client, place, count, rate);
        return 0;
    }
    if (tls_name) make_tls();
    enter(place);
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(open_server(), LISTENING);
    enter(client);
    print_load(run_flows(window, rate, seconds, 0));
    return 0;
}
