/* ring.h — the last bytes of a terminal's output, by absolute offset, and where its frames end.
 *
 * The ring is the only queue of a session: the terminal's reader appends, each viewer and the emulator keep
 * an offset into it. It grows up to its maximum when what somebody still needs asks for it, and is cut back
 * when quiet. A frame is what was sent as one piece: it never ends within a UTF-8 character. Frames count
 * from 1. Pure data, no thread of its own. */
#ifndef PTY_RING_H
#define PTY_RING_H

#include <odto/base.h>

typedef struct ring {
    char *p;
    size_t cap, max;     /* cap is a power of two, or 0 */
    size_t soft;         /* history alone does not make it larger */
    uint64_t tail, head; /* offsets held: tail <= o < head */
    uint64_t cut;        /* end of the last frame */
    uint64_t seq;        /* number of the last frame */
    uint64_t *ends;      /* of the last n_ends frames: frame f ends at ends[f % n_ends] */
    size_t n_ends;
} ring;

/* 0 or -ENOMEM. max and soft are rounded up to powers of two. */
int ring_init(ring *r, size_t max, size_t soft, size_t frames);
void ring_free(ring *r);
/* Start again at an offset (a session that is handed over). */
void ring_start(ring *r, uint64_t offset, uint64_t seq);

/* Contiguous room for up to want bytes at the head; what is older than keep may go. 0: no room without losing
 * what is kept (or no memory). */
size_t ring_room(ring *r, size_t want, uint64_t keep, char **at);
void ring_wrote(ring *r, size_t n);
/* The longest contiguous piece at an offset; offset must be in tail..head. */
odto_slice ring_at(const ring *r, uint64_t offset, uint64_t end);
/* Give memory back: of the history what fits into soft, and all from keep on. */
void ring_shrink(ring *r, uint64_t keep);

/* End a frame behind the last complete character (or at the head when all); true if there is one more. */
bool ring_cut(ring *r, bool all);
/* Where a frame ended; false when that is not known any more. Frame 0 ends at 0. */
bool ring_frame_end(const ring *r, uint64_t seq, uint64_t *end);
/* The last frame that ends at or before an offset; frames are looked at from `from` on. */
uint64_t ring_frame_at(const ring *r, uint64_t from, uint64_t offset);

/* Bytes at the end of p that begin a UTF-8 character and don't complete it: 0..3. */
size_t utf8_partial(const char *p, size_t n);
/* Append p as a JSON string's content (without quotes); invalid UTF-8 becomes U+FFFD. */
bool utf8_json(odto_buf *out, const char *p, size_t n);
#endif
