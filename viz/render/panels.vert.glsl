#version 120
uniform mat4 u_matrix;
attribute vec3 a_position;
attribute vec2 a_place;      // world units from the panel's lower left corner
attribute vec3 a_shape;      // width, height, radius of the corners
attribute vec4 a_fill;
attribute vec4 a_rim;
attribute vec3 a_shadow;     // place in the picture of the shadows, and their strength
varying vec2 v_place;
varying vec3 v_shape;
varying vec4 v_fill;
varying vec4 v_rim;
varying vec3 v_shadow;

void main() {
    v_place = a_place;
    v_shape = a_shape;
    v_fill = a_fill;
    v_rim = a_rim;
    v_shadow = a_shadow;
    gl_Position = u_matrix * vec4(a_position, 1.0);
}
