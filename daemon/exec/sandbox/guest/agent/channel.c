/* Channels: what the daemon opened, and the bytes that move on them. */
#include "agent.h"

struct channel channels[MAX_CHANNELS];
u32 last_id;

struct channel *find_channel(u32 id) {
  struct channel *job = 0;
  for (int n = 0; n < MAX_CHANNELS; n++)
    if (channels[n].kind != FREE && channels[n].id == id) {
      if (!channels[n].background) return &channels[n];
      job = &channels[n];
    }
  return job;
}

struct channel *new_channel(u32 id, u8 kind) {
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *channel = &channels[n];
    if (channel->kind != FREE) continue;
    memset(channel, 0, sizeof *channel);
    channel->id = id;
    channel->kind = kind;
    channel->in = channel->out[0] = channel->out[1] = channel->folder = NOFD;
    if (id > last_id) last_id = id;
    return channel;
  }
  send_number(END, FULL, id, 0);
  return 0;
}

struct channel *process_of(struct channel *channel) {
  if (channel->kind == PROCESS) return channel;
  return channel->kind == READER ? channel->job : 0;
}

static void close_once(int *fd) {
  if (*fd >= 0) sys_close(*fd);
  *fd = NOFD;
}

void close_input(struct channel *channel) {
  /* a terminal or socket is one descriptor for both directions */
  if (channel->in != channel->out[0]) close_once(&channel->in);
  channel->in = NOFD;
  if (channel->buffer) sys_unmap(channel->buffer, WINDOW);
  channel->buffer = 0;
  channel->length = 0;
}

void release(struct channel *channel) {
  if (channel->kind == LISTENER) end_waiting(channel);
  abandon_file(channel);
  close_input(channel);
  close_once(&channel->out[0]);
  close_once(&channel->out[1]);
  close_once(&channel->folder);
  if (channel->kept.ring) sys_unmap(channel->kept.ring, KEPT);
  channel->kind = FREE;
}

void end_channel(struct channel *channel, u8 how, u32 number) {
  send_number(END, how, channel->id, number);
  release(channel);
}

/* Everything the last conversation opened ends, but for background processes. */
void forget_connection(void) {
  for (int n = 0; n < MAX_CHANNELS; n++)
    if (channels[n].kind == PROCESS && !channels[n].background) signal_tree(&channels[n], SIGKILL);
  kill_chosen();
  for (int n = 0; n < MAX_CHANNELS; n++)
    if (channels[n].kind != FREE && !channels[n].background) release(&channels[n]);
}

static void consumed(struct channel *channel, u32 bytes) {
  /* what comes no more needs no credit */
  if (channel->input_over) return;
  channel->owed += bytes;
  if (channel->owed < WINDOW / 4 && channel->length > 0) return;
  if (channel->owed == 0) return;
  send_number(GIVE, 0, channel->id, channel->owed);
  channel->owed = 0;
}

static void input_done(struct channel *channel) {
  if (channel->kind == FILE_OUT) return commit_file(channel);
  if (channel->kind == SOCKET) {
    SYS2(__NR_shutdown, channel->in, 1);
    channel->in = NOFD;
    return socket_check_over(channel);
  }
  if (channel->pty) {
    u8 end_of_file = 4;
    sys_write(channel->in, &end_of_file, 1);
  }
  close_input(channel);
}

/* Gives the bytes taken; what the far end does not want any more counts as taken. */
static u32 push_bytes(struct channel *channel, const u8 *data, u32 length) {
  u32 done = 0;
  while (done < length) {
    i64 n = sys_write(channel->in, data + done, length - done);
    if (n == -EINTR) continue;
    if (n == -EAGAIN) break;
    if (n <= 0) {
      if (channel->kind == FILE_OUT) {
        channel->status = -n;
        return length;
      }
      close_input(channel);
      return length;
    }
    done += n;
  }
  return done;
}

void take_data(struct channel *channel, const u8 *data, u32 length, int over) {
  struct channel *target = channel->kind == READER ? channel->job : channel;
  if (channel->kind == FILE_IN || channel->kind == FOLDER || channel->kind == WATCH || channel->kind == WORKER) return;
  if (target->in == NOFD) {
    if (length > 0) send_number(GIVE, 0, channel->id, length);
    return;
  }
  u32 done = target->length == 0 && !target->connecting ? push_bytes(target, data, length) : 0;
  if (target->kind == FILE_OUT && target->status != 0) return end_channel(target, FAILED, target->status);
  if (done < length && target->in != NOFD) {
    if (!target->buffer) target->buffer = sys_map(WINDOW, 0);
    u32 end = target->start + target->length;
    if (target->buffer && target->length + (length - done) <= WINDOW) {
      if (end + (length - done) > WINDOW) {
        memmove(target->buffer, target->buffer + target->start, target->length);
        target->start = 0;
        end = target->length;
      }
      memcpy(target->buffer + end, data + done, length - done);
      target->length += length - done;
    } else {
      /* more than was allowed: the rest would be out of order, so nothing of it is taken */
      close_input(target);
    }
  }
  if (over) target->input_over = 1;
  consumed(target, done);
  if (target->kind == SOCKET && target->in == NOFD) return socket_check_over(target);
  if (target->input_over && target->length == 0 && target->in != NOFD) input_done(target);
}

void pump_input(struct channel *channel) {
  u32 done = push_bytes(channel, channel->buffer + channel->start, channel->length);
  if (channel->in == NOFD) {
    consumed(channel, done);
    /* who hung up takes nothing more, so this may have been the last that it waited for */
    if (channel->kind == SOCKET) socket_check_over(channel);
    return;
  }
  channel->start += done;
  channel->length -= done;
  if (channel->length == 0) channel->start = 0;
  consumed(channel, done);
  if (channel->input_over && channel->length == 0) input_done(channel);
}

static void output_ended(struct channel *channel, int which) {
  if (channel->kind == FILE_IN) return end_channel(channel, DONE, 0);
  if (channel->kind == SOCKET) {
    wire_room(0);
    wire_commit(OUT, OUT_OVER, channel->id, 0);
    channel->output_over[0] = 1;
    return socket_check_over(channel);
  }
  if (channel->pty && channel->in == channel->out[0]) close_input(channel);
  close_once(&channel->out[which]);
  channel->rest[which] = 0;
}

void pump_output(struct channel *channel, int which) {
  if (channel->kind == FOLDER) return pump_folder(channel);
  if (channel->kind == WATCH) return pump_watch(channel);
  if (channel->kind == LISTENER) return take_connection(channel);
  if (channel->background) {
    if (job_read(channel, which) == 0) output_ended(channel, which);
    return;
  }
  /* a whole frame is as large as what the daemon reads at once */
  u32 most = channel->credit < PIECE - HEADER ? channel->credit : PIECE - HEADER;
  if (channel->exited && most > channel->rest[which]) most = channel->rest[which];
  u8 *room = wire_room(PIECE);
  i64 n = most == 0 ? -EAGAIN : sys_read(channel->out[which], room, most);
  if (n == -EINTR) return;
  if (n == -EAGAIN) {
    if (channel->exited && channel->credit > 0) channel->rest[which] = 0;
    return;
  }
  if (n > 0) {
    channel->credit -= n;
    if (channel->exited) channel->rest[which] -= n;
    return wire_commit(OUT, which + 1, channel->id, n);
  }
  if (n < 0 && channel->kind == FILE_IN) return end_channel(channel, FAILED, -n);
  output_ended(channel, which);
}
