// Fly and first-person controls: drag to look, keys to move, pinch to move on touch screens.

import * as THREE from "three";

// Key: the direction in the camera's axes (x right, y up, z backwards).
const KEYS = {
  KeyW: [0, 0, -1], ArrowUp: [0, 0, -1], KeyS: [0, 0, 1], ArrowDown: [0, 0, 1],
  KeyA: [-1, 0, 0], ArrowLeft: [-1, 0, 0], KeyD: [1, 0, 0], ArrowRight: [1, 0, 0],
  KeyE: [0, 1, 0], KeyQ: [0, -1, 0],
};
const RADIANS_PER_PIXEL = 0.004;
const STEEPEST = 1.5;

/** Moves a camera: `fly` along the view, `walk` at one height with the horizon level. */
export class WalkControls {
  constructor(camera, element, onChange) {
    Object.assign(this, { camera, element, onChange, mode: null, speed: 0.5 });
    this.pressed = new Set();
    this.pointers = new Map();
    const on = (target, name, act) => target.addEventListener(name, act.bind(this));
    on(window, "keydown", this.keyDown);
    on(window, "keyup", (event) => this.pressed.delete(event.code));
    on(window, "blur", () => this.pressed.clear());
    on(element, "pointerdown", (event) => this.pointers.set(event.pointerId, event));
    on(element, "pointermove", this.pointerMove);
    for (const name of ["pointerup", "pointercancel"])
      on(window, name, (event) => this.pointers.delete(event.pointerId));
  }

  keyDown(event) {
    if (!this.mode || event.target.closest?.("input, select")) return;
    if (event.code in KEYS) {
      this.pressed.add(event.code);
      event.preventDefault();
    }
  }

  pointerMove(event) {
    const last = this.pointers.get(event.pointerId);
    if (!this.mode || !last) return;
    if (this.pointers.size === 2) this.pinch(last, event);
    else this.turn(event.clientX - last.clientX, event.clientY - last.clientY);
    this.pointers.set(event.pointerId, event);
    this.onChange();
  }

  /** Two fingers that part move forwards. */
  pinch(last, event) {
    const [other] = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    const distance = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
    this.move(new THREE.Vector3(0, 0, (distance(last) - distance(event)) * 0.003));
  }

  turn(right, down) {
    const { camera } = this;
    const up = camera.up;
    camera.rotateOnWorldAxis(up, -right * RADIANS_PER_PIXEL);
    const ahead = camera.getWorldDirection(new THREE.Vector3());
    const pitch = Math.asin(THREE.MathUtils.clamp(ahead.dot(up), -1, 1));
    const next = THREE.MathUtils.clamp(pitch - down * RADIANS_PER_PIXEL, -STEEPEST, STEEPEST);
    camera.rotateX(next - pitch);
  }

  move(step) {
    const { camera } = this;
    const direction = step.applyQuaternion(camera.quaternion);
    if (this.mode === "walk") direction.addScaledVector(camera.up, -direction.dot(camera.up));
    camera.position.add(direction);
  }

  /** Moves by the pressed keys; `seconds` since the last call. */
  update(seconds) {
    if (!this.mode || this.pressed.size === 0) return;
    const step = new THREE.Vector3();
    for (const code of this.pressed) step.add(new THREE.Vector3(...KEYS[code]));
    this.move(step.multiplyScalar(this.speed * seconds));
    this.onChange();
  }
}
