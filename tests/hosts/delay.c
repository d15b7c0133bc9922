/* A network with delay between hosts that are network namespaces (tests/hosts.sh), on kernels
 * without netem: a switch in user space. The card of each host, eth0, is a TAP device of which this
 * program holds the other end. A packet that it reads leaves for its receiver DELAY_US later, at
 * MBIT a receiver: the last hop is the bottleneck when several hosts send to one. What a host may
 * send is limited by its own queue (tbf), where TCP notices it.
 *
 *   host 0 --tbf--> eth0 |          | port: MBIT --> eth0 host 0
 *   host 1 --tbf--> eth0 | DELAY_US | port: MBIT --> eth0 host 1         delay DELAY_US MBIT PID...
 *   host 2 --tbf--> eth0 |          | port: MBIT --> eth0 host 2
 *
 * Packets are TCP's large ones (segmentation offload), so 1 Gbit/s takes a quarter of a core.
 * Cards have the addresses 02:00:00:00:00:HOST+1. MBIT 0: no limit. Says "ready" when the cards
 * are there; ends with its parent, or after an hour. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define HOSTS 16
#define PACKET_BYTES (65536 + 128)
#define BURST 16             /* packets read from a card before the others have their turn */
#define PORT_BYTES (8 << 20) /* what a receiver's port keeps; more is lost, as in a switch */
#define FRAME_BYTES 24       /* on a wire, beside the packet: preamble, checksum, gap */
#define WAKING 30000 /* nanoseconds too early that count as in time: waking up takes that long */

typedef struct Packet {
    struct Packet *next;
    int64_t due;              /* nanoseconds of the clock */
    size_t bytes, wire_bytes; /* here; with the headers that its segments will have */
    unsigned char data[PACKET_BYTES];
} Packet;

typedef struct Queue {
    Packet *first, *last;
    size_t bytes;
} Queue;

typedef struct Switch {
    int hosts;
    struct pollfd cards[HOSTS];
    int64_t delay;            /* nanoseconds */
    double byte_time;         /* nanoseconds */
    Queue ports[HOSTS];       /* what is on its way to each host, in the order of sending */
    int64_t port_free[HOSTS]; /* when the port has sent all of that */
    Packet *unused;
    size_t lost;
} Switch;

static void stop(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void push(Queue *queue, Packet *packet)
{
    packet->next = NULL;
    if (queue->first)
        queue->last->next = packet;
    else
        queue->first = packet;
    queue->last = packet;
    queue->bytes += packet->bytes;
}

static Packet *pop(Queue *queue)
{
    Packet *packet = queue->first;
    queue->first = packet->next;
    queue->bytes -= packet->bytes;
    return packet;
}

static Packet *take_unused(Switch *s)
{
    Packet *packet = s->unused;
    if (packet)
        s->unused = packet->next;
    else if (!(packet = malloc(sizeof *packet)))
        stop("memory");
    return packet;
}

static void give_back(Switch *s, Packet *packet)
{
    packet->next = s->unused;
    s->unused = packet;
}

/* A card of the network that process `pid` is in. */
static int open_card(const char *pid)
{
    char path[64];
    struct ifreq request = { .ifr_name = "eth0" };
    snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
    int space = open(path, O_RDONLY);
    if (space < 0 || setns(space, CLONE_NEWNET) != 0)
        stop(path);
    close(space);
    int card = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (card < 0 || ioctl(card, TUNSETIFF, &request) != 0 ||
        ioctl(card, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN) != 0)
        stop("/dev/net/tun");
    return card;
}

/* A packet of n segments stands for n packets, each with headers of its own. */
static size_t wire_bytes(const unsigned char *data, size_t bytes)
{
    struct virtio_net_hdr offload;
    memcpy(&offload, data, sizeof offload);
    size_t frame = bytes - sizeof offload, segments = 1, headers = offload.hdr_len;
    if (offload.gso_type != VIRTIO_NET_HDR_GSO_NONE && offload.gso_size > 0 && frame > headers)
        segments = (frame - headers + offload.gso_size - 1) / offload.gso_size;
    return frame + (segments - 1) * headers + segments * FRAME_BYTES;
}

/* Comes to the port after the delay, and leaves it when all before it have and its own last byte
 * is sent. The delay is one for all, so packets come to ports in the order of this. */
static void send_to(Switch *s, Packet *packet, int to)
{
    if (s->ports[to].bytes > PORT_BYTES) {
        if (s->lost++ == 0)
            fprintf(stderr, "delay: host %d's port is full, packets are lost\n", to);
        give_back(s, packet);
        return;
    }
    int64_t there = now() + s->delay;
    int64_t start = there > s->port_free[to] ? there : s->port_free[to];
    packet->due = start + (int64_t)((double)packet->wire_bytes * s->byte_time);
    s->port_free[to] = packet->due;
    push(&s->ports[to], packet);
}

/* To the host whose address it has, or to all others. Takes the packet over. */
static void accept_packet(Switch *s, int from, Packet *packet)
{
    const unsigned char *address = packet->data + sizeof(struct virtio_net_hdr);
    int to = address[5] - 1;
    if (address[0] == 2 && to < s->hosts) {
        send_to(s, packet, to);
        return;
    }
    for (to = 0; to < s->hosts && address[0] == 0xff; to++) {
        if (to == from)
            continue;
        Packet *copy = take_unused(s);
        memcpy(copy->data, packet->data, packet->bytes);
        copy->bytes = packet->bytes;
        copy->wire_bytes = packet->wire_bytes;
        send_to(s, copy, to);
    }
    give_back(s, packet);
}

static void read_card(Switch *s, int from)
{
    for (int i = 0; i < BURST; i++) {
        Packet *packet = take_unused(s);
        ssize_t bytes = read(s->cards[from].fd, packet->data, sizeof packet->data);
        if (bytes < (ssize_t)sizeof(struct virtio_net_hdr) + 14) {
            give_back(s, packet);
            if (bytes < 0 && errno != EAGAIN && errno != EIO) /* EIO: the card is down */
                stop("a host's card");
            return;
        }
        packet->bytes = (size_t)bytes;
        packet->wire_bytes = wire_bytes(packet->data, packet->bytes);
        accept_packet(s, from, packet);
    }
}

/* Delivers everything that is due; when the next packet will be, or INT64_MAX. */
static int64_t deliver(Switch *s)
{
    int64_t time = now() + WAKING, next = INT64_MAX;
    for (int to = 0; to < s->hosts; to++) {
        Queue *port = &s->ports[to];
        while (port->first && port->first->due <= time) {
            Packet *packet = pop(port);
            if (write(s->cards[to].fd, packet->data, packet->bytes) < 0 && errno != EIO)
                stop("a host's card");
            give_back(s, packet);
        }
        if (port->first && port->first->due < next)
            next = port->first->due;
    }
    return next;
}

static void run(Switch *s)
{
    for (;;) {
        int64_t next = deliver(s), left = next - WAKING - now();
        struct timespec wait = { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
        if (left < 0)
            wait = (struct timespec){ 0, 0 };
        if (ppoll(s->cards, (nfds_t)s->hosts, next == INT64_MAX ? NULL : &wait, NULL) < 0)
            stop("ppoll");
        for (int host = 0; host < s->hosts; host++)
            if (s->cards[host].revents)
                read_card(s, host);
    }
}

/* A card works whatever the cores do: first in line, and awake in time. */
static void hurry(void)
{
    struct sched_param priority = { .sched_priority = 1 };
    sched_setscheduler(0, SCHED_FIFO, &priority); /* where that is not allowed, as others do */
    prctl(PR_SET_TIMERSLACK, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(3600);
}

int main(int count, char **words)
{
    static Switch s;
    double mbit = count > 2 ? atof(words[2]) : 0;
    if (count < 4 || count - 3 > HOSTS) {
        fprintf(stderr, "usage: delay DELAY_US MBIT PID...   (of 1 to %d hosts)\n", HOSTS);
        return 2;
    }
    s.hosts = count - 3;
    s.delay = (int64_t)(atof(words[1]) * 1000);
    s.byte_time = mbit > 0 ? 8000 / mbit : 0;
    for (int host = 0; host < s.hosts; host++)
        s.cards[host] = (struct pollfd){ .fd = open_card(words[host + 3]), .events = POLLIN };
    hurry();
    puts("ready");
    fflush(stdout);
    run(&s);
}
