// Layers of a picture: in which sizes we send our camera's, and which size of another's fills a tile.

export interface CameraEncoding {
  scaleResolutionDownBy: number;
  maxBitrate: number;
  scalabilityMode: string;
}

/**
 * A camera's picture of that height in up to three sizes, smallest first as WebRTC wants them, each half as high as the
 * next; so one guest's weak link does not lower what the others and OBS get. All with three frame rates (L1T3).
 */
export function cameraEncodings(height = FULL_HEIGHT): CameraEncoding[] {
  return SIZES.filter(size => size.scaleResolutionDownBy === 1 || height / size.scaleResolutionDownBy >= LEAST_HEIGHT).map(size => ({ ...size, scalabilityMode: 'L1T3' }));
}

/** How many sizes a consumer can choose from, by its encoding's scalability mode (W3C webrtc-svc §6). */
export function spatialLayers(scalabilityMode: string | undefined): number {
  return Number(/^[LS]([1-9])T[1-9]/.exec(scalabilityMode ?? '')?.[1] ?? 1);
}

/** The lowest of `count` layers that still looks good at `pixels` high, if the highest is that of a common camera sent in so many. */
export function layerFor(pixels: number, count: number): number {
  const full = count < SIZES.length ? SMALL_CAMERA : FULL_HEIGHT;
  for (let layer = 0; layer < count - 1; layer += 1) {
    if (full / 2 ** (count - 1 - layer) >= pixels * SHARP_ENOUGH) return layer;
  }
  return count - 1;
}

const FULL_HEIGHT = 720;
/** The common height below 4 × {@link LEAST_HEIGHT}. */
const SMALL_CAMERA = 360;
/** Below this faces are blots. */
const LEAST_HEIGHT = 135;
/** Nobody sees a picture enlarged by a quarter. */
const SHARP_ENOUGH = 0.8;
/** 720p of a talking head in VP8 looks no better above 2.5 Mbit/s, a quarter of its size not above 500 kbit/s. */
const SIZES = [
  { scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { scaleResolutionDownBy: 1, maxBitrate: 2_500_000 },
];
