// The panel: every control of the page.

import GUI from "three/addons/libs/lil-gui.module.min.js";

/** Builds the panel; returns an object with `update()`, which shows changed values. */
export function makePanel(page) {
  const { stage, state, path } = page;
  const gui = new GUI({ title: page.scene.title });
  const touch = () => stage.touch();

  const camera = gui.addFolder("Camera");
  camera.add(state, "controls", ["orbit", "fly", "walk"]).onChange((mode) => stage.setMode(mode));
  camera.add(state, "up", ["-y", "y", "z", "-z"]).onChange((axis) => stage.setUp(axis));
  camera.add(page, "reset");
  if (page.scene.trajectories.length) {
    const names = page.scene.trajectories.map((trajectory, index) => [trajectory.name, index]);
    camera.add(state, "trajectory", Object.fromEntries(names)).name("camera path");
    camera.add(page, "playTrajectory").name("play camera path");
    camera.add(state, "frustums").name("show cameras").onChange(touch);
    camera.add(state, "compare", 0, 1, 0.01).name("compare with clip").onChange(page.compare);
  }

  if (page.scene.moments.length > 1) {
    const time = gui.addFolder("Time");
    const last = page.scene.moments.length - 1;
    time.add(state, "time", 0, last, 1).onChange((value) => stage.setTime(value));
    time.add(state, "playing").name("play");
    time.add(state, "loop");
    time.add(state, "speed", 0.1, 4, 0.1);
  }

  const keys = gui.addFolder("Key frames");
  const key = keys.add(state, "key", 0, 0, 1).name("number").onChange(page.showKey);
  keys.add(page, "addKey").name("add");
  keys.add(page, "moveKey").name("move to this view");
  keys.add(page, "deleteKey").name("delete");
  keys.add(page, "playPath").name("play");
  keys.add(page, "savePath").name("save as JSON");
  keys.add(page, "openPath").name("load JSON");

  const look = gui.addFolder("Look").close();
  look.add(state, "opacity", 0, 0.5, 0.005).name("least opacity").onChange(page.setOpacity);
  look.add(state, "crop").onChange(page.setBox);
  const [low, high] = page.bounds;
  for (const [k, axis] of ["x", "y", "z"].entries()) {
    look.add(state.box, k, low[k], high[k]).name(`${axis} from`).onChange(page.setBox);
    look.add(state.box, k + 3, low[k], high[k]).name(`${axis} to`).onChange(page.setBox);
  }
  look.addColor(state, "background").onChange((color) => stage.setBackground(color));
  look.add(state, "pictureWidth", 64, 8192, 1).name("screenshot width");
  look.add(page, "screenshot");

  if (innerWidth < 700) gui.close();
  return {
    update() {
      key.max(Math.max(0, path.keys.length - 1)).name(`number (${path.keys.length} in all)`);
      gui.controllersRecursive().forEach((controller) => controller.updateDisplay());
    },
  };
}
