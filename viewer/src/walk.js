// Keys in every mode; fly and first-person controls by mouse and touch.

import * as THREE from "three";

// Key: the direction in the camera's axes (x right, y up, z backwards).
const KEYS = {
  KeyW: [0, 0, -1], ArrowUp: [0, 0, -1], KeyS: [0, 0, 1], ArrowDown: [0, 0, 1],
  KeyA: [-1, 0, 0], ArrowLeft: [-1, 0, 0], KeyD: [1, 0, 0], ArrowRight: [1, 0, 0],
  KeyE: [0, 1, 0], KeyQ: [0, -1, 0],
};
const RADIANS_PER_PIXEL = 0.004;
const UNITS_PER_PIXEL = 0.002;
// Largest angle between the view and the horizon, in radians.
const STEEPEST = 1.5;
// Scene units and radians a second.
const SPEED = 0.5;

/** Moves a camera: `fly` along the view, `walk` with the horizon level, `orbit` by keys alone. */
export class WalkControls {
  constructor(stage, element) {
    Object.assign(this, { stage, element });
    this.pressed = new Set();
    this.pointers = new Map();
    const on = (target, name, act) => target.addEventListener(name, act.bind(this));
    on(window, "keydown", this.keyDown);
    on(window, "keyup", (event) => this.pressed.delete(event.code));
    on(window, "blur", () => this.pressed.clear());
    on(element, "pointerdown", (event) => this.pointers.set(event.pointerId, event));
    on(element, "pointermove", this.pointerMove);
    on(element, "wheel", this.wheel);
    for (const name of ["pointerup", "pointercancel"])
      on(window, name, (event) => this.pointers.delete(event.pointerId));
  }

  /** Whether mouse and touch are for this class. */
  get isActive() {
    return this.stage.mode !== "orbit";
  }

  keyDown(event) {
    const typing = event.target.closest?.("input, select");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.code in KEYS)) return;
    this.pressed.add(event.code);
    event.preventDefault();
  }

  pointerMove(event) {
    const last = this.pointers.get(event.pointerId);
    if (!this.isActive || !last) return;
    const [right, down] = [event.clientX - last.clientX, event.clientY - last.clientY];
    if (this.pointers.size === 2) this.pinch(last, event, right, down);
    else this.turn(right, down);
    this.pointers.set(event.pointerId, event);
    this.stage.moved();
  }

  wheel(event) {
    if (!this.isActive) return;
    event.preventDefault();
    this.move(new THREE.Vector3(0, 0, event.deltaY * UNITS_PER_PIXEL * 0.5));
    this.stage.moved();
  }

  /** Two fingers that part move forwards; two that go together shift the view. */
  pinch(last, event, right, down) {
    const [other] = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    const distance = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
    const step = new THREE.Vector3(-right / 2, down / 2, distance(last) - distance(event));
    this.move(step.multiplyScalar(UNITS_PER_PIXEL));
  }

  turn(right, down) {
    const { camera } = this.stage;
    camera.rotateOnWorldAxis(camera.up, -right * RADIANS_PER_PIXEL);
    const ahead = camera.getWorldDirection(new THREE.Vector3());
    const pitch = Math.asin(THREE.MathUtils.clamp(ahead.dot(camera.up), -1, 1));
    const next = THREE.MathUtils.clamp(pitch - down * RADIANS_PER_PIXEL, -STEEPEST, STEEPEST);
    camera.rotateX(next - pitch);
  }

  move(step) {
    const { camera, mode } = this.stage;
    const height = step.y;
    if (mode === "walk") step.y = 0;
    const direction = step.applyQuaternion(camera.quaternion);
    if (mode === "walk") {
      direction.addScaledVector(camera.up, height - direction.dot(camera.up));
    }
    camera.position.add(direction);
  }

  /** Moves by the pressed keys; `seconds` since the last call. */
  update(seconds) {
    if (this.pressed.size === 0) return;
    const step = new THREE.Vector3();
    for (const code of this.pressed) step.add(new THREE.Vector3(...KEYS[code]));
    step.multiplyScalar(SPEED * seconds);
    if (this.isActive) this.move(step);
    else this.stage.turnAround(step);
    this.stage.moved();
  }
}
