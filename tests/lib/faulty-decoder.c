/* Preloaded into the media worker, the bug that a decoder may have: pictures of 4:3 crash it, as long as a file is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libavcodec/avcodec.h>
#include <stdlib.h>
#include <unistd.h>

int avcodec_receive_frame(AVCodecContext *decoder, AVFrame *frame) {
    int (*real)(AVCodecContext *, AVFrame *) =
        (int (*)(AVCodecContext *, AVFrame *))dlsym(RTLD_NEXT, "avcodec_receive_frame");
    int result = real(decoder, frame);
    const char *file = getenv("FAULTY_DECODER");
    if (result == 0 && frame->width * 3 == frame->height * 4 && file && access(file, F_OK) == 0)
        *(volatile int *)16 = 0;
    return result;
}
