/* Connections to ports on the guest's own loopback. */
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

void socket_ready(struct channel *channel) {
  int why = 0, size = sizeof why;
  SYS5(__NR_getsockopt, channel->in, 1 /* SOL_SOCKET */, 4 /* SO_ERROR */, &why, &size);
  if (why != 0) return connect_failed(channel, why);
  channel->connecting = 0;
  int on = 1;
  SYS5(__NR_setsockopt, channel->in, 6 /* TCP */, 1 /* NODELAY */, &on, sizeof on);
  send_number(OPENED, 0, channel->id, 0);
  if (channel->length > 0) pump_input(channel);
}

void socket_check_over(struct channel *channel) {
  if (channel->output_over[0] && channel->in == NOFD) end_channel(channel, DONE, 0);
}
