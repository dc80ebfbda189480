/* Decoding a region of a JPEG, and antialiased bilinear resizing: the two costs of a random crop.
 *
 * Compiled at installation where a C compiler and libjpeg-turbo's headers are found; without it
 * cvjax.data.decode uses packages that decode whole images, with the same result. The region is
 * bit-identical to the same pixels of the whole image. Every libjpeg warning is an error here, and
 * so is a missing end; other damage below the region is not seen, since nothing there is read.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("arch=haswell", "default")))
#else
#define FOR_EACH_CPU
#endif

/* ---- decoding --------------------------------------------------------------------------- */

typedef struct {
    struct jpeg_error_mgr manager; /* first, as libjpeg expects */
    jmp_buf escape;
    char *message; /* JMSG_LENGTH_MAX bytes: the first warning, or the error */
} Errors;

static void escape_with_message(j_common_ptr info)
{
    Errors *errors = (Errors *)info->err;
    info->err->format_message(info, errors->message);
    longjmp(errors->escape, 1);
}

static void keep_first_warning(j_common_ptr info, int level)
{
    if (level < 0 && info->err->num_warnings++ == 0)
        info->err->format_message(info, ((Errors *)info->err)->message);
}

typedef struct {
    int denominator, channels, top, left, height, width;
} Region;

/* 0, or -1 with a message. Pixels go to `out`, rows packed. */
static int read_region(const uint8_t *data, size_t size, Region region, uint8_t *out,
                       char *message)
{
    struct jpeg_decompress_struct info;
    Errors errors;
    uint8_t *volatile memory = NULL;

    message[0] = '\0';
    info.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = escape_with_message;
    errors.manager.emit_message = keep_first_warning;
    errors.message = message;
    if (setjmp(errors.escape)) {
        jpeg_destroy_decompress(&info);
        free(memory);
        return -1;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, (unsigned char *)data, size);
    jpeg_read_header(&info, TRUE);
    info.out_color_space = region.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    info.scale_num = 1;
    info.scale_denom = region.denominator;
    jpeg_start_decompress(&info);

    JDIMENSION rows = info.output_height, columns = info.output_width;
    if ((JDIMENSION)(region.top + region.height) > rows ||
        (JDIMENSION)(region.left + region.width) > columns) {
        snprintf(message, JMSG_LENGTH_MAX, "region outside the image");
        longjmp(errors.escape, 1);
    }
    /* Upsampled colour at the border needs its neighbours: two columns more on either side. */
    JDIMENSION start = region.left > 2 ? region.left - 2 : 0;
    JDIMENSION end = region.left + region.width + 2;
    JDIMENSION count = (end < columns ? end : columns) - start;
    if (start > 0 || count < columns)
        jpeg_crop_scanline(&info, &start, &count); /* moves both outwards to whole blocks */
    memory = malloc((size_t)info.output_width * region.channels + 64);
    if (memory == NULL) {
        snprintf(message, JMSG_LENGTH_MAX, "out of memory");
        longjmp(errors.escape, 1);
    }
    /* Off alignment: into aligned rows libjpeg-turbo stores past the cache, and reading them back
     * from memory made decoding a fifth slower. */
    uint8_t *line = memory + 1;
    if (region.top > 0)
        jpeg_skip_scanlines(&info, region.top);
    size_t offset = (size_t)(region.left - start) * region.channels;
    size_t bytes = (size_t)region.width * region.channels;
    for (int row = 0; row < region.height; row++) {
        JSAMPROW pointer = line;
        if (jpeg_read_scanlines(&info, &pointer, 1) != 1) {
            snprintf(message, JMSG_LENGTH_MAX, "no more rows");
            longjmp(errors.escape, 1);
        }
        memcpy(out + row * bytes, line + offset, bytes);
    }
    int complete = size > 2 && data[size - 2] == 0xFF && data[size - 1] == 0xD9;
    if (complete && info.output_scanline < rows) {
        jpeg_abort_decompress(&info);
    } else { /* to the end, to tell a truncated file from one with something appended */
        if (info.output_scanline + 1 < rows)
            jpeg_skip_scanlines(&info, rows - 1 - info.output_scanline);
        while (info.output_scanline < rows)
            jpeg_read_scanlines(&info, &line, 1);
        jpeg_finish_decompress(&info);
    }
    long warnings = info.err->num_warnings;
    jpeg_destroy_decompress(&info);
    free(memory);
    return warnings ? -1 : 0;
}

static PyObject *decode_region(PyObject *self, PyObject *args)
{
    Py_buffer data, out;
    Region r;
    char message[JMSG_LENGTH_MAX];

    if (!PyArg_ParseTuple(args, "y*iiiiiiw*", &data, &r.denominator, &r.channels, &r.top, &r.left,
                          &r.height, &r.width, &out))
        return NULL;
    int status = -2;
    if (r.top >= 0 && r.left >= 0 && r.height > 0 && r.width > 0 &&
        (r.channels == 1 || r.channels == 3) &&
        out.len >= (Py_ssize_t)r.height * r.width * r.channels) {
        Py_BEGIN_ALLOW_THREADS
        status = read_region(data.buf, data.len, r, out.buf, message);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    if (status == -2)
        PyErr_SetString(PyExc_TypeError, "decode_region: no such region, or `out` is too small");
    else if (status == -1)
        PyErr_SetString(PyExc_ValueError, message);
    else
        Py_RETURN_NONE;
    return NULL;
}

/* ---- resizing --------------------------------------------------------------------------- */

/* Which inputs make up each output along one axis, and with what weights. */
typedef struct {
    int *first, *count;
    float *weights; /* [outputs][taps] */
    int taps;
} Axis;

static int make_axis(Axis *axis, int inputs, double start, double extent, int outputs)
{
    double scale = extent / outputs, reach = scale > 1 ? scale : 1;
    int taps = 2 * (int)ceil(reach) + 1, most = 1;

    axis->first = malloc(outputs * sizeof(int));
    axis->count = malloc(outputs * sizeof(int));
    axis->weights = calloc((size_t)outputs * taps, sizeof(float));
    if (!axis->first || !axis->count || !axis->weights)
        return -1;
    for (int i = 0; i < outputs; i++) {
        double centre = start + (i + 0.5) * scale, sum = 0;
        int low = (int)(centre - reach + 0.5), high = (int)(centre + reach + 0.5);
        low = low < 0 ? 0 : low;
        high = high > inputs ? inputs : high;
        int count = high - low < taps ? high - low : taps;
        float *weights = axis->weights + (size_t)i * taps;
        for (int k = 0; k < count; k++) {
            double weight = 1 - fabs(low + k + 0.5 - centre) / reach;
            weights[k] = weight > 0 ? (float)weight : 0;
            sum += weights[k];
        }
        for (int k = 0; k < count; k++)
            weights[k] = (float)(weights[k] / sum);
        while (count > 1 && weights[count - 1] == 0)
            count--;
        axis->first[i] = low;
        axis->count[i] = count;
        most = count > most ? count : most;
    }
    for (int i = 0; i < outputs; i++) /* pack the rows to what is used */
        memmove(axis->weights + (size_t)i * most, axis->weights + (size_t)i * taps,
                most * sizeof(float));
    axis->taps = most;
    return 0;
}

static void free_axis(Axis *axis)
{
    free(axis->first);
    free(axis->count);
    free(axis->weights);
}

/* One output row before its columns are summed. */
FOR_EACH_CPU static void sum_rows(const uint8_t *rows, Py_ssize_t stride, int count,
                                  const float *weights, int length, float *restrict sum)
{
    const uint8_t *a = rows, *b = a + stride, *c = b + stride;
    float x = weights[0];
    if (count == 1) {
        for (int i = 0; i < length; i++)
            sum[i] = a[i];
    } else if (count == 2) {
        float y = weights[1];
        for (int i = 0; i < length; i++)
            sum[i] = x * a[i] + y * b[i];
    } else {
        float y = weights[1], z = weights[2];
        for (int i = 0; i < length; i++)
            sum[i] = x * a[i] + y * b[i] + z * c[i];
        for (int k = 3; k < count; k++) {
            const uint8_t *row = rows + k * stride;
            for (int i = 0; i < length; i++)
                sum[i] += weights[k] * row[i];
        }
    }
}

typedef float Pixel __attribute__((vector_size(16), aligned(4))); /* RGB and one float more */

/* `row` is padded: what zero weights and the fourth float touch must be there. */
FOR_EACH_CPU static void sum_columns(const float *row, const Axis *axis, int outputs,
                                     int channels, float *restrict sums, uint8_t *restrict out)
{
    int taps = axis->taps;
    if (channels == 3) {
        for (int i = 0; i < outputs; i++) {
            const float *pixels = row + 3 * (Py_ssize_t)axis->first[i];
            const float *weights = axis->weights + (Py_ssize_t)i * taps;
            Pixel sum = weights[0] * *(const Pixel *)pixels;
            for (int k = 1; k < taps; k++)
                sum += weights[k] * *(const Pixel *)(pixels + 3 * k);
            *(Pixel *)(sums + 3 * i) = sum;
        }
    } else {
        for (int i = 0; i < outputs; i++) {
            const float *weights = axis->weights + (Py_ssize_t)i * taps;
            float sum = 0;
            for (int k = 0; k < taps; k++)
                sum += weights[k] * row[axis->first[i] + k];
            sums[i] = sum;
        }
    }
    for (int i = 0; i < channels * outputs; i++)
        out[i] = (uint8_t)(int)(sums[i] + 0.5f);
}

static int resize_box(const uint8_t *in, Py_ssize_t stride, int height, int width, int channels,
                      const double box[4], uint8_t *out, int out_height, int out_width)
{
    Axis rows = {0}, columns = {0};
    float *row = NULL, *sums = NULL;
    int status = -1;

    if (make_axis(&rows, height, box[0], box[2], out_height) == 0 &&
        make_axis(&columns, width, box[1], box[3], out_width) == 0) {
        row = calloc((size_t)(width + columns.taps + 2) * channels, sizeof(float));
        sums = malloc(((size_t)out_width * channels + 4) * sizeof(float));
    }
    if (row && sums) {
        for (int i = 0; i < out_height; i++) {
            sum_rows(in + rows.first[i] * stride, stride, rows.count[i],
                     rows.weights + (size_t)i * rows.taps, width * channels, row);
            sum_columns(row, &columns, out_width, channels, sums,
                        out + (size_t)i * out_width * channels);
        }
        status = 0;
    }
    free(row);
    free(sums);
    free_axis(&rows);
    free_axis(&columns);
    return status;
}

static PyObject *resize(PyObject *self, PyObject *args)
{
    PyObject *image;
    Py_buffer in, out;
    double box[4]; /* top, left, height, width */
    int out_height, out_width;

    if (!PyArg_ParseTuple(args, "O(dddd)iiw*", &image, &box[0], &box[1], &box[2], &box[3],
                          &out_height, &out_width, &out))
        return NULL;
    if (PyObject_GetBuffer(image, &in, PyBUF_STRIDED_RO) < 0) {
        PyBuffer_Release(&out);
        return NULL;
    }
    int status = -2;
    if (in.ndim == 3 && in.itemsize == 1 && in.strides[2] == 1 && in.shape[0] > 0 &&
        in.shape[1] > 0 && (in.shape[2] == 1 || in.shape[2] == 3) &&
        in.strides[1] == in.shape[2] && in.strides[0] >= 0 && out_height > 0 && out_width > 0 &&
        in.shape[0] <= INT32_MAX / 8 && in.shape[1] <= INT32_MAX / 8 && box[0] >= 0 &&
        box[1] >= 0 && box[2] > 0 && box[3] > 0 && box[0] + box[2] <= in.shape[0] + 1e-6 &&
        box[1] + box[3] <= in.shape[1] + 1e-6 &&
        out.len == (Py_ssize_t)out_height * out_width * in.shape[2]) {
        Py_BEGIN_ALLOW_THREADS
        status = resize_box(in.buf, in.strides[0], (int)in.shape[0], (int)in.shape[1],
                            (int)in.shape[2], box, out.buf, out_height, out_width);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&in);
    PyBuffer_Release(&out);
    if (status == -2)
        PyErr_SetString(PyExc_TypeError, "resize: expected packed pixels, a box inside them and "
                                         "an `out` of the right size");
    else if (status == -1)
        PyErr_NoMemory();
    else
        Py_RETURN_NONE;
    return NULL;
}

/* ---- module ----------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"decode_region", decode_region, METH_VARARGS,
     "decode_region(data, denominator, channels, top, left, height, width, out)\n\n"
     "Fills `out` with a region of the JPEG decoded at 1/denominator, in its pixels.\n"
     "ValueError with libjpeg's words on any error or warning."},
    {"resize", resize, METH_VARARGS,
     "resize(image, (top, left, height, width), out_height, out_width, out)\n\n"
     "Fills `out` with the box of uint8 [H, W, 1 or 3], antialiased bilinear."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_jpeg", "Regions of JPEGs, and resizing.", -1, methods,
};

PyMODINIT_FUNC PyInit__jpeg(void) { return PyModule_Create(&module); }
