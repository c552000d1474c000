// The path of key frames: add, move, delete, play, save and load.

import { readCameraFile, writeCameraFile } from "./camera_file.js";
import { interpolate } from "./cameras.js";

// Frames from one key frame to the next.
const STEPS = 36;
// Rounding of files; their poses need no more digits.
const SAME = 1e-5;

export class Path {
  constructor(scene) {
    this.scene = scene;
    this.keys = [];
  }

  add(frame) {
    this.keys.push(frame);
    return this.keys.length - 1;
  }

  replace(index, frame) {
    this.keys[index] = frame;
  }

  remove(index) {
    this.keys.splice(index, 1);
  }

  /** Returns the frames of the smooth path. */
  frames() {
    return interpolate(this.keys, STEPS * (this.keys.length - 1) + 1);
  }

  /** Returns the text of a camera file with every frame of the smooth path. */
  text() {
    return writeCameraFile(this.scene, this.frames());
  }

  /** Takes the key frames of a camera file; throws an error that says what is wrong. */
  load(text) {
    this.keys = keysOf(readCameraFile(text, this.scene));
  }
}

/** Returns the key frames of a path that this page has saved, or else every frame. */
function keysOf(frames) {
  if ((frames.length - 1) % STEPS) return frames;
  const keys = frames.filter((_, number) => number % STEPS === 0);
  const smooth = interpolate(keys, frames.length);
  const values = ({ c2w, intrinsics }) => [...c2w.flat(), ...intrinsics];
  const isSame = frames.every((frame, number) => {
    const expected = values(smooth[number]);
    return values(frame).every(
      (value, k) => Math.abs(value - expected[k]) <= SAME * Math.max(1, Math.abs(value)),
    );
  });
  return isSame ? keys : frames;
}
