/* Connections to ports on the guest's own loopback, and from programs of the guest to ports that the daemon listens on there. */
#include "agent.h"

#define INET 2
#define INET6 10

/* 0 when under way or done; else a negative errno */
static int start_connect(struct channel *channel) {
  int family = channel->second_try ? INET6 : INET;
  int fd = SYS3(__NR_socket, family, 1 | O_CLOEXEC | O_NONBLOCK, 0);
  if (fd < 0) return fd;
  u8 address[28];
  memset(address, 0, sizeof address);
  put16(address, family);
  address[2] = channel->port >> 8;
  address[3] = channel->port;
  if (channel->second_try) address[23] = 1;
  else address[4] = 127, address[7] = 1;
  i64 failed = SYS3(__NR_connect, fd, address, channel->second_try ? 28 : 16);
  if (failed != 0 && failed != -EINPROGRESS) {
    sys_close(fd);
    return failed;
  }
  channel->in = channel->out[0] = fd;
  channel->connecting = 1;
  return 0;
}

static void connect_failed(struct channel *channel, int why) {
  if (channel->out[0] >= 0) sys_close(channel->out[0]);
  channel->in = channel->out[0] = NOFD;
  if (!channel->second_try) {
    channel->second_try = 1;
    int second = start_connect(channel);
    if (second == 0) return;
  }
  end_channel(channel, FAILED, why);
}

void dial(u32 id, const u8 *at, const u8 *end) {
  if (end - at != 6) return send_number(END, FAILED, id, EINVAL);
  struct channel *channel = new_channel(id, SOCKET);
  if (!channel) return;
  channel->credit = get32(at);
  channel->port = get16(at + 4);
  int failed = start_connect(channel);
  if (failed != 0) connect_failed(channel, -failed);
}

static void connected(struct channel *channel) {
  int on = 1;
  SYS5(__NR_setsockopt, channel->in, 6 /* TCP */, 1 /* NODELAY */, &on, sizeof on);
  send_number(OPENED, 0, channel->id, 0);
}

void socket_ready(struct channel *channel) {
  int why = 0, size = sizeof why;
  SYS5(__NR_getsockopt, channel->in, 1 /* SOL_SOCKET */, 4 /* SO_ERROR */, &why, &size);
  if (why != 0) return connect_failed(channel, why);
  channel->connecting = 0;
  connected(channel);
  if (channel->length > 0) pump_input(channel);
}

void socket_check_over(struct channel *channel) {
  if (channel->output_over[0] && channel->in == NOFD) end_channel(channel, DONE, 0);
}

/* A listening socket at 127.0.0.1, or a negative errno */
static int start_listening(u16 port) {
  int fd = SYS3(__NR_socket, INET, 1 | O_CLOEXEC | O_NONBLOCK, 0);
  if (fd < 0) return fd;
  u8 address[16];
  memset(address, 0, sizeof address);
  put16(address, INET);
  address[2] = port >> 8, address[3] = port;
  address[4] = 127, address[7] = 1;
  int on = 1;
  SYS5(__NR_setsockopt, fd, 1 /* SOL_SOCKET */, 2 /* SO_REUSEADDR */, &on, sizeof on);
  i64 failed = SYS3(__NR_bind, fd, address, sizeof address);
  if (failed == 0) failed = SYS2(__NR_listen, fd, 128);
  if (failed == 0) return fd;
  sys_close(fd);
  return failed;
}

void listen_on(u32 id, const u8 *at, const u8 *end) {
  if (end - at != 2) return send_number(END, FAILED, id, EINVAL);
  struct channel *listener = new_channel(id, LISTENER);
  if (!listener) return;
  int fd = start_listening(get16(at));
  if (fd < 0) return end_channel(listener, FAILED, -fd);
  listener->out[0] = fd;
  send_number(OPENED, 0, id, 0);
}

void await_connection(u32 id, const u8 *at, const u8 *end) {
  if (end - at != 8) return send_number(END, FAILED, id, EINVAL);
  struct channel *listener = find_channel(get32(at + 4));
  if (!listener || listener->kind != LISTENER) return send_number(END, FAILED, id, ENOENT);
  struct channel *waiting = new_channel(id, SOCKET);
  if (!waiting) return;
  waiting->credit = get32(at);
  waiting->job = listener;
}

struct channel *next_waiting(const struct channel *listener) {
  for (int n = 0; n < MAX_CHANNELS; n++)
    if (channels[n].kind == SOCKET && channels[n].job == listener) return &channels[n];
  return 0;
}

void take_connection(struct channel *listener) {
  struct channel *waiting = next_waiting(listener);
  if (!waiting) return;
  int fd = SYS4(__NR_accept4, listener->out[0], 0, 0, O_CLOEXEC | O_NONBLOCK);
  /* who came may be gone already */
  if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED) return;
  if (fd < 0) return end_channel(listener, FAILED, -fd);
  waiting->job = 0;
  waiting->in = waiting->out[0] = fd;
  connected(waiting);
}

void end_waiting(const struct channel *listener) {
  for (struct channel *waiting; (waiting = next_waiting(listener));) end_channel(waiting, FAILED, ECONNABORTED);
}
