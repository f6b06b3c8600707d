// Layers: what is sent of a camera, and what a tile asks for.

import { expect, it } from 'vitest';
import { cameraEncodings, layerFor, spatialLayers } from './layers';

it.each([
  [undefined, [4, 2, 1]],
  [1080, [4, 2, 1]],
  [720, [4, 2, 1]],
  [540, [4, 2, 1]],
  [480, [2, 1]],
  [240, [1]],
])('a camera %s high is sent at these scales: %j', (height, scales) => {
  expect(cameraEncodings(height).map(one => one.scaleResolutionDownBy)).toEqual(scales);
});

it.each([
  ['L3T3', 3],
  ['S2T1', 2],
  ['L3T3_KEY', 3],
  [undefined, 1],
  ['nonsense', 1],
])('the mode %s has %i sizes', (mode, count) => {
  expect(spatialLayers(mode)).toBe(count);
});

it.each([
  [1200, 3, 2],
  [600, 3, 2],
  [450, 3, 1],
  [300, 3, 1],
  [225, 3, 0],
  [0, 3, 0],
  [600, 1, 0],
  [300, 2, 1],
  [225, 2, 0],
])('a tile %i high takes of %i layers the one numbered %i', (pixels, count, layer) => {
  expect(layerFor(pixels, count)).toBe(layer);
});
