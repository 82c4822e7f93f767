#version 120
// A tensor is a box: 24 vertices, all with the box's own attributes. Floats only: GL 2.1 has nothing else everywhere.
uniform mat4 u_matrix;
uniform float u_pixel;       // width of a pixel of the picture in the world, over its distance
attribute vec3 a_position;   // in the world
attribute vec3 a_local;      // 0..1 within the box
attribute vec3 a_normal;
attribute vec2 a_apart;      // space to other boxes of the same tensor, across and down
attribute vec4 a_rect;       // cells in the atlas: left, top, columns, rows
attribute vec4 a_held;       // cells that the atlas has: first column, first row, and where they end
attribute vec4 a_scale;      // low, high, row of the colour table, thickness of cell borders (0 or 1)
attribute vec4 a_style;      // marked rows from, to (in cells), highlight 0..1, whether u_cell is in this box
varying vec3 v_local;
varying vec3 v_normal;
varying vec4 v_rect;
varying vec4 v_held;
varying vec4 v_scale;
varying vec4 v_style;

void main() {
    v_local = a_local;
    v_normal = a_normal;
    v_rect = a_rect;
    v_held = a_held;
    v_scale = a_scale;
    v_style = a_style;
    // gaps of less than a pixel close, or many of them would show as stripes that are not there
    vec3 position = a_position;
    float away = (u_matrix * vec4(position, 1.0)).w;
    vec2 gap = a_apart / max(u_pixel * away, 1.0e-9);
    position.xy += (a_local.xy - 0.5) * a_apart * (1.0 - smoothstep(0.9, 2.0, gap));
    gl_Position = u_matrix * vec4(position, 1.0);
}
